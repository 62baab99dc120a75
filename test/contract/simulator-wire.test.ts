// What answers of the simulator look like on the wire: lines indented by two blanks, as of api.stripe.com, and of the length of real ones.
import { describe, expect, it } from 'vitest';
import { NEW_YEAR, get, simulatedStripe } from '../support/simulated-stripe.js';

const { simulator } = await simulatedStripe();

async function textOf(path: string): Promise<string> {
  return (await get(simulator, path)).text();
}

/** The same value as JSON in lines, which is Stripe's form. */
function inLines(json: string): string {
  return JSON.stringify(JSON.parse(json), null, 2);
}

describe('an answer on the wire', () => {
  it('is a list in indented lines, its fields in the order of Stripe', async () => {
    simulator.seed({ count: 2, from: NEW_YEAR, to: NEW_YEAR });

    const page = await textOf('/v1/customers');

    expect(page).toMatch(
      /^\{\n {2}"object": "list",\n {2}"data": \[\n {4}\{\n {6}"id": "cus_\w{14}",\n {6}"object": "customer",\n {6}"address": /,
    );
    expect(page).toMatch(/\n {4}\},\n {4}\{\n {6}"id": "cus_/);
    expect(page).toMatch(/\n {4}\}\n {2}\],\n {2}"has_more": false,\n {2}"url": "\/v1\/customers"\n\}$/);
    expect(page).toBe(inLines(page));
  });

  it('is indented whatever it is: empty, one object, changed, an event, the account or an error', async () => {
    const empty = await textOf('/v1/customers');
    simulator.seed({ count: 3, from: NEW_YEAR, to: NEW_YEAR, customerBytes: 2500 });
    const [id = '', changed = '', gone = ''] = simulator.listIds();
    simulator.create({ metadata: { plan: 'team' } });
    simulator.update(changed, { description: 'Two\nlines' });
    simulator.delete(gone);
    const paths = [
      ...['/v1/customers', `/v1/customers/${id}`, `/v1/customers/${changed}`, `/v1/customers/${gone}`],
      ...['/v1/events', '/v1/account', '/v1/customers/cus_unknown', '/v1/unicorns'],
    ];

    const answers = [empty, ...(await Promise.all(paths.map(textOf)))];

    expect(empty).toBe(
      '{\n  "object": "list",\n  "data": [],\n  "has_more": false,\n  "url": "/v1/customers"\n}',
    );
    for (const answer of answers) expect(answer).toBe(inLines(answer));
  });

  it.each([
    { customerBytes: undefined, least: 1_500, most: 1_700 },
    { customerBytes: 2500, least: 2_350, most: 2_650 },
  ] as const)(
    'has customers of about $customerBytes bytes where a seed says so',
    async ({ customerBytes, least, most }) => {
      const size = customerBytes === undefined ? {} : { customerBytes };
      simulator.seed({ count: 1_000, from: NEW_YEAR, to: NEW_YEAR + 999, ...size });

      const pages = await Promise.all(
        Array.from({ length: 10 }, (_, n) =>
          textOf(
            `/v1/customers?limit=100&created[gte]=${NEW_YEAR + n * 100}&created[lt]=${NEW_YEAR + n * 100 + 100}`,
          ),
        ),
      );

      const customers = pages.flatMap((page) => (JSON.parse(page) as { data: object[] }).data);
      const bytes = pages.reduce((sum, page) => sum + Buffer.byteLength(page), 0);
      expect(customers.length).toBeGreaterThan(900);
      expect(bytes / customers.length).toBeGreaterThan(least);
      expect(bytes / customers.length).toBeLessThan(most);
      for (const page of pages) expect(page).toBe(inLines(page));
    },
  );
});
