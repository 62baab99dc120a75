// What the SDK may do on its own: nothing.
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { release } from 'node:os';
import { inspect } from 'node:util';
import type Stripe from 'stripe';
import { beforeEach, describe, expect, test } from 'vitest';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { StripeClient } from '../../src/stripe/exchange.js';
import { atEnd } from '../support/cleanup.js';

let simulator: StripeSimulator;
let client: StripeClient;

beforeEach(async () => {
  simulator = await startSimulator();
  atEnd(() => simulator.close());
  client = new StripeClient({ apiBase: simulator.url, apiVersion: '2026-10-28.endive' });
  atEnd(() => client.close());
});

const attempt = (send: (options: Stripe.RequestOptions) => Promise<unknown>, by = client) =>
  by.exchange(send, { key: simulator.key, timeoutMs: 1_000, signal: new AbortController().signal });

describe('the SDK', () => {
  test('makes one request an attempt, whatever else it is asked for', async () => {
    const { error } = await attempt(async (options) => {
      await client.stripe.customers.list({}, options);
      await client.stripe.customers.list({}, options);
    });

    expect(error).toBeInstanceOf(Error);
    expect(simulator.requests).toHaveLength(1);
  });

  test('makes none outside of an attempt', async () => {
    await expect(client.stripe.customers.list()).rejects.toThrow();

    expect(simulator.requests).toEqual([]);
  });

  test('writes nothing', async () => {
    const writes = [
      (options: Stripe.RequestOptions) =>
        client.stripe.customers.create({ email: 'canary@example.com' }, options),
      (options: Stripe.RequestOptions) =>
        client.stripe.customers.update('cus_1', { name: 'Canary' }, options),
      (options: Stripe.RequestOptions) => client.stripe.customers.del('cus_1', {}, options),
    ];

    for (const write of writes) expect((await attempt(write)).error).toBeInstanceOf(Error);

    expect(simulator.requests).toEqual([]);
  });

  test.each([{ kind: 'reset' }, { kind: 'status', status: 500 }] as const)(
    'repeats nothing after $kind',
    async (fault) => {
      simulator.fault(fault);

      const exchange = await attempt((options) => client.stripe.customers.list({}, options));

      expect(exchange.error).toBeInstanceOf(Error);
      expect(simulator.requests).toHaveLength(1);
    },
  );

  test('tells the version that is pinned, and nothing of the machine or of earlier calls', async () => {
    const heard: IncomingHttpHeaders[] = [];
    const server = createServer((request, response) => {
      heard.push(request.headers);
      response.setHeader('Request-Id', 'req_1').end('{"object":"list","data":[],"has_more":false}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    atEnd(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const own = new StripeClient({
      apiBase: `http://127.0.0.1:${port}`,
      apiVersion: '2024-06-20',
    });
    atEnd(() => own.close());

    await attempt((options) => own.stripe.customers.list({}, options), own);
    await attempt((options) => own.stripe.customers.list({}, options), own);

    expect(heard).toHaveLength(2);
    for (const headers of heard) {
      expect(headers).toMatchObject({
        'stripe-version': '2024-06-20',
        authorization: `Bearer ${simulator.key}`,
      });
      expect(headers).not.toHaveProperty('x-stripe-client-telemetry');
      expect(decodeURIComponent(String(headers['x-stripe-client-user-agent']))).not.toContain(release());
    }
  });

  test('holds no key that printing it could show', async () => {
    await attempt((options) => client.stripe.customers.list({}, options));

    expect(inspect(client, { depth: 20, showHidden: true })).not.toContain(simulator.key);
  });
});
