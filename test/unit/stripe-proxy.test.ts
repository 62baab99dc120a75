// What a proxy on the way to Stripe may do wrong: every call ends as a fault that names the proxy, and nothing of it is left open.
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { StripeClient } from '../../src/stripe/exchange.js';
import type { StripeId } from '../../src/sync/ports.js';
import { freePort } from '../support/process.js';
import { type ProxyConduct, startProxy, type TestProxy } from '../support/proxy.js';
import { startGateway, type TestGateway } from '../support/stripe-gateway.js';
import { until } from '../support/until.js';

const calm = { priority: 'small', signal: new AbortController().signal } as const;
const stripe = { url: 'https://api.stripe.example', key: 'sk_test_0123456789abcdef' };
const quick = { attemptTimeoutMs: 5_000, callDeadlineMs: 1_200 };
const anyId = 'cus_1' as StripeId;

const proxyVariables = ['HTTPS_PROXY', 'HTTP_PROXY', 'ALL_PROXY', 'NO_PROXY'];
let proxy: TestProxy;

beforeEach(async () => {
  for (const name of proxyVariables.flatMap((each) => [each, each.toLowerCase()])) vi.stubEnv(name, '');
  proxy = await startProxy();
  vi.stubEnv('HTTPS_PROXY', proxy.url);
});
afterEach(() => void vi.unstubAllEnvs());

const faultOf = ({ customers }: TestGateway, signal = calm.signal): Promise<unknown> =>
  customers.retrieve(anyId, { ...calm, signal }).catch((error: unknown) => error);

const stripeLike404 = JSON.stringify({
  error: {
    type: 'invalid_request_error',
    code: 'resource_missing',
    param: 'id',
    message: 'No such customer',
  },
});

describe('a proxy that', () => {
  const refusals: [string, ProxyConduct, RegExp, number][] = [
    ['wants credentials', { kind: 'answer', status: 407 }, /407.*HTTPS_PROXY/, 1],
    ['forbids Stripe', { kind: 'answer', status: 403, body: '<html>Blocked</html>' }, /status 403/, 1],
    ['speaks as if it were Stripe', { kind: 'answer', status: 404, body: stripeLike404 }, /status 404/, 1],
    [
      'refuses the key in words of Stripe',
      { kind: 'answer', status: 401, body: stripeLike404 },
      /status 401/,
      1,
    ],
    ['cannot reach Stripe', { kind: 'answer', status: 502 }, /status 502/, 2],
    ['hangs up', { kind: 'hangUp' }, /cannot be reached \(ECONNRESET\)/, 2],
  ];

  test.each(refusals)('%s is told of in a retryable fault', async (_what, conduct, message, leastTries) => {
    proxy.behave(conduct);
    const started = startGateway(stripe, quick);

    const fault = await faultOf(started);

    expect(fault).toMatchObject({ name: 'Fault', code: 'stripe_unavailable', kind: 'retryable' });
    expect((fault as Error).message).toContain(`The proxy ${proxy.url} `);
    expect((fault as Error).message).toMatch(message);
    expect(proxy.asked.length).toBeGreaterThanOrEqual(leastTries);
    if (leastTries === 1) expect(proxy.asked).toHaveLength(1);
    expect(new Set(started.observed.calls.map(({ outcome }) => outcome))).toEqual(
      new Set(['connection_failed']),
    );
    await until(() => proxy.connections() === 0, { what: 'the connections to end' });
  });

  test('is not there is told of in a retryable fault', async () => {
    vi.stubEnv('HTTPS_PROXY', `http://127.0.0.1:${await freePort()}`);

    const fault = await faultOf(startGateway(stripe, quick));

    expect(fault).toMatchObject({ code: 'stripe_unavailable', kind: 'retryable' });
    expect((fault as Error).message).toMatch(
      /^The proxy http:\/\/127\.0\.0\.1:\d+ cannot be reached \(ECONNREFUSED\)$/,
    );
  });

  test('never answers costs an attempt its time and no connection', async () => {
    proxy.behave({ kind: 'silence' });

    const fault = await faultOf(startGateway(stripe, { attemptTimeoutMs: 200, callDeadlineMs: 500 }));

    expect(fault).toMatchObject({ code: 'stripe_unavailable', kind: 'retryable' });
    expect((fault as Error).message).toMatch(/^The proxy .* opened no tunnel to Stripe within \d+ ms$/);
    await until(() => proxy.connections() === 0, { what: 'the connections to end' });
  });

  test('speaks plain HTTP where its address says TLS is told of with what to do', async () => {
    vi.stubEnv('HTTPS_PROXY', `127.0.0.1:${proxy.port}`);

    const fault = await faultOf(startGateway(stripe, quick));

    expect((fault as Error).message).toMatch(/its address starts with http:\/\/$/);
  });
});

test('a call that is aborted while its tunnel opens ends at once, and its connection with it', async () => {
  proxy.behave({ kind: 'silence' });
  const abort = new AbortController();
  const fault = faultOf(startGateway(stripe), abort.signal);
  await until(() => proxy.asked.length === 1, { what: 'the request for a tunnel' });

  abort.abort(new Error('enough'));

  expect(await fault).toMatchObject({ message: 'enough' });
  await until(() => proxy.connections() === 0, { what: 'the connection to end' });
});

test('closing ends what is opening', async () => {
  proxy.behave({ kind: 'silence' });
  const { gateway, ...rest } = startGateway(stripe);
  const fault = faultOf({ gateway, ...rest });
  await until(() => proxy.asked.length === 1, { what: 'the request for a tunnel' });

  await gateway.close();

  expect(await fault).toMatchObject({ code: 'shutdown' });
  await until(() => proxy.connections() === 0, { what: 'the connection to end' });
});

test('gives its credentials decoded, asks for Stripe by name, and tells them nobody', async () => {
  proxy.behave({ kind: 'answer', status: 407 });
  vi.stubEnv('HTTPS_PROXY', `http://canary%40corp:p%3Aw%25rd@127.0.0.1:${proxy.port}`);
  const started = startGateway(stripe, quick);

  const fault = await faultOf(started);

  const authorization = `Basic ${Buffer.from('canary@corp:p:w%rd').toString('base64')}`;
  expect(proxy.asked[0]).toEqual({ authority: 'api.stripe.example:443', authorization });
  const client = new StripeClient({
    apiBase: stripe.url,
    apiVersion: '2026-10-28.endive',
  });
  expect(client.proxy).toBe(proxy.url);
  const told = [...started.lines, (fault as Error).message, inspect(client, { depth: 20, showHidden: true })];
  client.close();
  expect(started.lines.join()).toContain('Stripe is called through a proxy');
  expect(
    told.filter((text) => /canary|w%25rd|w%rd/.test(text) || text.includes(authorization.slice(6))),
  ).toEqual([]);
});

describe('the environment', () => {
  const proxyBy = (apiBase = stripe.url): string | undefined => {
    const client = new StripeClient({ apiBase, apiVersion: '2026-10-28.endive' });
    client.close();
    return client.proxy;
  };
  const only = (name: string, address: string): void => {
    vi.stubEnv('HTTPS_PROXY', '');
    vi.stubEnv(name, address);
  };

  test.each(['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy'])('names a proxy by %s', (name) => {
    only(name, 'http://proxy.example.com:3128');

    expect(proxyBy()).toBe('http://proxy.example.com:3128');
  });

  test('names none for plain HTTP, nor by HTTP_PROXY', () => {
    expect(proxyBy('http://127.0.0.1:1')).toBeUndefined();
    only('HTTP_PROXY', 'http://proxy.example.com:3128');

    expect(proxyBy()).toBeUndefined();
  });

  test.each([
    ['NO_PROXY', 'api.stripe.example', true],
    ['no_proxy', 'localhost,.stripe.example', true],
    ['NO_PROXY', 'other.example *.stripe.example', true],
    ['NO_PROXY', '*', true],
    ['NO_PROXY', 'api.stripe.example:8443,example', false],
  ])('%s=%s', (name, value, isDirect) => {
    vi.stubEnv(name, value);

    expect(proxyBy() === undefined).toBe(isDirect);
  });

  test.each([
    'socks5://canary:1080',
    'http://',
    'http://canary:%zz@proxy.example.com',
    'http://canary proxy:1',
  ])('with %s is a fault of the configuration that does not quote it', (address) => {
    vi.stubEnv('HTTPS_PROXY', address);

    const fault = (): unknown => proxyBy();

    expect(fault).toThrow(expect.objectContaining({ code: 'invalid_config', kind: 'fatal' }));
    expect(fault).toThrow(/HTTPS_PROXY .* must be/);
    expect(fault).not.toThrow(/canary/);
  });
});
