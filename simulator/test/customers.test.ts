// What tests may do to the customers of the simulator, behind Stripe's back.
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

describe('what tests may do', () => {
  let simulator: StripeSimulator;

  beforeEach(async () => {
    simulator = await startSimulator();
  });

  afterEach(() => simulator.close());

  it('finds a customer with an id of its own under that id alone', () => {
    const { id } = simulator.create({});
    simulator.clear();

    simulator.create({ id: 'cus_given' });

    expect(simulator.get('cus_given')).toMatchObject({ id: 'cus_given' });
    expect(simulator.get(id)).toBeUndefined();
  });

  it('refuses to make an id twice, and to change what is not there', () => {
    const { id } = simulator.create({});
    simulator.delete(id);

    expect(() => simulator.create({ id })).toThrow(`has a customer ${id} already`);
    expect(() => simulator.update(id, {})).toThrow(`has no customer ${id}`);
    expect(() => simulator.delete('cus_unknown')).toThrow('has no customer cus_unknown');
    expect(() => simulator.createRaw('[1]')).toThrow('must be a JSON object with a string id');
    expect(() => simulator.seed({ count: -1 })).toThrow('count must be a whole number');
  });

  it('changes and deletes as many customers at random as asked, each once', () => {
    simulator.seed({ count: 100, deletedShare: 0.5 });
    const before = new Map(simulator.list().map((customer) => [customer.id, customer.description]));

    const updated = simulator.updateRandom(20);
    const changed = simulator.list().filter(({ id, description }) => before.get(id) !== description);
    const deleted = simulator.deleteRandom(1000);

    expect(changed.map(({ id }) => id).sort()).toEqual(updated.sort());
    expect(new Set(updated).size).toBe(20);
    expect(deleted.sort()).toEqual([...before.keys()].sort());
    expect(simulator.listedCount).toBe(0);
  });
});
