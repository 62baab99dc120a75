// Ten thousand requests inserted at once.
import { expect, test } from 'vitest';
import type { mongo } from 'mongoose';
import { openFleet, pollMs } from '../support/fleet.js';
import { keepJournal } from '../support/journal.js';

const count = 10_000;
/** How long the machine may take over a claim. */
const slackMs = 10_000;

/** The longest time that an owner began nothing while there was work, in milliseconds. */
function longestPauses(ended: readonly mongo.BSON.Document[]): Map<string, number> {
  const claims = new Map<string, number[]>();
  for (const { lease, startedAt } of ended) {
    const { owner } = lease as { owner: string };
    claims.set(owner, [...(claims.get(owner) ?? []), (startedAt as Date).getTime()]);
  }
  const all = [...claims.values()].flat();
  const [first, last] = [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
  return new Map(
    [...claims].map(([owner, times]) => {
      const moments = [first, ...times.sort((a, b) => a - b), last];
      const pauses = moments.slice(1).map((at, index) => at - (moments[index] ?? at));
      return [owner, pauses.reduce((a, b) => Math.max(a, b))];
    }),
  );
}

test(
  '10,000 requests inserted at once all end, each once, and no replica sits idle while they wait',
  { timeout: 480_000 },
  async () => {
    const fleet = await openFleet({
      simulated: { seed: { count: 100 } },
      settings: { LOG_LEVEL: 'info', REQUESTS_LEASE_MS: '20000' },
    });
    const { user, simulator } = fleet;
    const daemons = await Promise.all([fleet.start(), fleet.start(), fleet.start()]);
    await user.run({ command: 'syncAll' });
    const journal = await keepJournal(user.requests);
    const customers = simulator.listIds().map((id) => simulator.get(id));

    const ids = await user.insert(
      ...Array.from({ length: count }, (_, index) => {
        const customer = customers[index % customers.length];
        return index % 50 === 0
          ? { command: 'syncByIds', ids: [customer?.id] }
          : { command: 'syncBatch', batch: [customer] };
      }),
    );
    const ended = await user.allEnded(ids, 400_000);

    expect(ended.filter(({ status, attempts }) => status !== 'succeeded' || attempts !== 1)).toEqual([]);
    const ends = await journal.ends();
    expect(ids.filter((id) => ends.get(String(id))?.length !== 1)).toEqual([]);
    const pauses = longestPauses(ended);
    expect(pauses.size).toBe(daemons.length);
    for (const pause of pauses.values()) expect(pause).toBeLessThan(pollMs + slackMs);
    expect(await fleet.differences()).toEqual([]);
    expect(daemons.flatMap((daemon) => daemon.errors())).toEqual([]);
  },
);
