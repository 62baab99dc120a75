// The events of the simulator: as Stripe documents them, seen through the official SDK.
import type Stripe from 'stripe';
import { describe, expect, it } from 'vitest';
import { DEFAULT_API_VERSION } from 'stripe-simulator';
import { createMany, get, idsOf, refusal, simulatedStripe } from '../support/simulated-stripe.js';

const { simulator, stripe } = await simulatedStripe();

describe('events', () => {
  it('records what happened to a customer, newest first, with the values before a change', async () => {
    const { id } = simulator.create({ name: 'Ada', metadata: { a: '1', b: '2' } });
    simulator.update(id, { name: 'Grace', metadata: { a: '', b: '3', c: '4' } });
    simulator.delete(id);

    const events = await stripe.events.list();

    expect(events.data.map((event) => event.type)).toEqual([
      'customer.deleted',
      'customer.updated',
      'customer.created',
    ]);
    const [deleted, updated, created] = events.data;
    expect(created).toMatchObject({
      object: 'event',
      api_version: DEFAULT_API_VERSION,
      livemode: false,
      data: { object: { id, name: 'Ada' } },
    });
    expect(updated!.data.object).toEqual({
      ...created!.data.object,
      name: 'Grace',
      metadata: { b: '3', c: '4' },
    });
    expect(updated!.data.previous_attributes).toEqual({ name: 'Ada', metadata: { a: '1', b: '2', c: null } });
    expect(deleted!.data).toMatchObject({ object: { id, name: 'Grace' } });
    expect(created!.data).not.toHaveProperty('previous_attributes');
  });

  it('filters by type, by several types and by groups', async () => {
    const { id } = simulator.create({});
    simulator.update(id, { name: 'Grace' });
    simulator.delete(id);
    const typesOf = async (params: Stripe.EventListParams) =>
      (await stripe.events.list(params)).data.map((event) => event.type);

    expect(await typesOf({ type: 'customer.updated' })).toEqual(['customer.updated']);
    expect(await typesOf({ type: 'customer.*' })).toHaveLength(3);
    expect(await typesOf({ types: ['customer.created', 'customer.deleted'] })).toEqual([
      'customer.deleted',
      'customer.created',
    ]);
    expect(await typesOf({ type: 'invoice.paid' })).toEqual([]);
    const bySpelling = await get(simulator, '/v1/events?types[]=customer.created');
    expect(await bySpelling.json()).toMatchObject({ data: [{ type: 'customer.created' }] });
  });

  it('pages and filters by created as other lists do, and gives single events', async () => {
    createMany(simulator, 5);
    const now = simulator.clock.seconds();

    const first = await stripe.events.list({ limit: 2 });
    const next = await stripe.events.list({ limit: 3, starting_after: first.data[1]!.id });
    const back = await stripe.events.list({ limit: 5, ending_before: next.data[0]!.id });

    expect(first.has_more).toBe(true);
    expect(next.has_more).toBe(false);
    expect(new Set([...idsOf(first), ...idsOf(next)]).size).toBe(5);
    expect(idsOf(back)).toEqual(idsOf(first));
    expect((await stripe.events.list({ created: { lt: now - 100 } })).data).toEqual([]);
    expect(await stripe.events.retrieve(first.data[0]!.id)).toEqual(first.data[0]);
    const error = await refusal(stripe.events.retrieve('evt_unknown'));
    expect(error).toMatchObject({ statusCode: 404, message: "No such event: 'evt_unknown'" });
  });

  it('forgets events after 30 days', async () => {
    createMany(simulator, 1);
    const { data } = await stripe.events.list();
    simulator.clock.setOffset(31 * 24 * 3600 * 1000);

    expect(data).toHaveLength(1);
    expect((await stripe.events.list()).data).toEqual([]);
    expect(await refusal(stripe.events.retrieve(data[0]!.id))).toMatchObject({ statusCode: 404 });
  });

  it('records nothing for seeds and for silent changes, unless asked', async () => {
    simulator.seed({ count: 3 });
    simulator.updateRandom(2, { event: false });
    expect((await stripe.events.list()).data).toEqual([]);

    simulator.seed({ count: 3, from: simulator.clock.seconds() - 60, events: true });
    simulator.seed({ count: 3, from: simulator.clock.seconds() - 60, events: true, deletedShare: 1 });
    expect((await stripe.events.list({ type: 'customer.created' })).data).toHaveLength(3);
  });
});
