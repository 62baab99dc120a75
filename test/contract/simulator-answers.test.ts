// What all answers of the simulator have in common: as Stripe documents it.
import Stripe from 'stripe';
import { describe, expect, it } from 'vitest';
import { DEFAULT_API_VERSION } from 'stripe-simulator';
import { get, simulatedStripe } from '../support/simulated-stripe.js';

const { simulator } = await simulatedStripe();

describe('every answer', () => {
  it('is of the version that the SDK pins, unless another is asked for', () => {
    expect(DEFAULT_API_VERSION).toBe(Stripe.API_VERSION);
  });

  it('carries the date of the simulated clock, a request id of its own and the asked for version', async () => {
    simulator.clock.setOffset(-3_600_000);

    const answers = [
      await get(simulator, '/v1/customers', { 'Stripe-Version': '2024-06-20' }),
      await get(simulator, '/v1/customers/cus_unknown'),
      await fetch(`${simulator.url}/v1/customers`),
    ];

    for (const answer of answers) {
      const date = Date.parse(answer.headers.get('date')!);
      expect(Math.abs(date - simulator.clock.now())).toBeLessThan(10_000);
      expect(answer.headers.get('request-id')).toMatch(/^req_[0-9A-Za-z]{14}$/);
      expect(answer.headers.get('content-type')).toBe('application/json');
    }
    expect(new Set(answers.map((answer) => answer.headers.get('request-id'))).size).toBe(3);
    expect(answers.map((answer) => answer.headers.get('stripe-version'))).toEqual([
      '2024-06-20',
      DEFAULT_API_VERSION,
      DEFAULT_API_VERSION,
    ]);
  });

  it('is 400 for a version that is none', async () => {
    const answer = await get(simulator, '/v1/customers', { 'Stripe-Version': 'latest' });

    expect(answer.status).toBe(400);
    expect(await answer.text()).toContain('Invalid Stripe API version: latest');
  });

  it.each([
    ['/v1/unicorns', 'Unrecognized request URL (GET: /v1/unicorns). Please see https://stripe.com/docs'],
    ['/v1/customers/', 'If you are trying to list objects, remove the trailing slash.'],
    ['/v1/customers/cus_1/sources', 'Unrecognized request URL (GET: /v1/customers/cus_1/sources).'],
    ['/', 'Unrecognized request URL (GET: /).'],
  ])('is 404 for %s', async (path, message) => {
    const answer = await get(simulator, path);

    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({
      error: { type: 'invalid_request_error', message: expect.stringContaining(message) as string },
    });
  });
});
