// A mix of requests of every command after a few changes at Stripe, drawn from a seed; and what must hold of them in the end, whatever
// happened to the daemons meanwhile.
import { setTimeout as sleep } from 'node:timers/promises';
import type { mongo } from 'mongoose';
import { expect } from 'vitest';
import { createRandom } from 'stripe-simulator';
import { type Fleet, leaseMs, pollMs } from './fleet.js';
import type { Journal } from './journal.js';
import type { AnyDocument } from './requests.js';

/** How long the machine may take over what the daemon does at once. */
const slackMs = 10_000;

/** Changes some customers at Stripe and inserts requests, two equal scans and one of a dead holder among them. */
export async function insertMix({ simulator, user }: Fleet, seed: number): Promise<mongo.ObjectId[]> {
  const random = createRandom(seed);
  // Of the older half: what has just been created is not mirrored yet, and a softDelete of it would rightly fail.
  const old = simulator.listIds();
  old.splice(0, old.length / 2);
  const deleted = Array.from({ length: 4 }, () => old.splice(random.below(old.length), 1)[0] ?? '');
  for (const id of deleted) simulator.delete(id);
  for (let each = 0; each < 5; each += 1) simulator.create({ metadata: { run: String(seed) } });
  simulator.updateRandom(10);
  const ids = simulator.listIds();
  const pick = (): string => ids[random.below(ids.length)] ?? '';
  const some = (count: number): string[] => Array.from({ length: count }, pick);
  const mix: AnyDocument[] = [
    ...Array.from({ length: 8 }, () => ({ command: 'syncByIds', ids: some(1 + random.below(5)) })),
    ...Array.from({ length: 4 }, () => ({
      command: 'syncBatch',
      batch: some(3).map((id) => simulator.get(id)),
    })),
    ...deleted.slice(0, 2).map((stripeId) => ({ command: 'softDelete', stripeId })),
    // The other two are left for the scan to find.
    { command: 'syncByIds', ids: deleted.slice(0, 2), status: 'running' },
    { command: 'syncAll' },
    { command: 'syncAll', requestedBy: 'another' },
  ];
  const order = mix.map((document) => ({ document, at: random.next() })).sort((a, b) => a.at - b.at);
  return user.insert(...order.map(({ document }) => document));
}

/** Of a daemon that was killed. */
interface Death {
  readonly pid: number;
  readonly at: Date;
}

/**
 * Waits until all have ended, and fails where one is lost, has ended twice or not well, was stuck with the daemon that died, or where the
 * mirror is not what Stripe says. Without a journal, where there are no change streams, only the last end is seen.
 * @returns how long after its death the last of what it held was taken away from it, in milliseconds; 0 where it held nothing
 */
export async function expectAllDone(
  { user, differences }: Fleet,
  journal: Journal | undefined,
  ids: readonly mongo.ObjectId[],
  death?: Death,
): Promise<number> {
  const ended = await user.allEnded(ids, 60_000);
  const unexpected = ended.filter(({ status }) => status !== 'succeeded' && status !== 'coalesced');
  expect(unexpected).toEqual([]);
  const ends = await journal?.ends();
  const notOnce = ids.filter((id) => ends && ends.get(String(id))?.length !== 1);
  expect(notOnce.map((id) => [String(id), ends?.get(String(id))])).toEqual([]);
  const stuckMs = death === undefined ? 0 : stuckWith(death, ended);
  expect(stuckMs).toBeLessThan(leaseMs + pollMs + slackMs);
  expect(await differences()).toEqual([]);
  return stuckMs;
}

function stuckWith({ pid, at }: Death, ended: readonly AnyDocument[]): number {
  const attempts = ended.flatMap(({ history }) => (history ?? []) as readonly Attempt[]);
  // An owner's name holds its pid.
  const lost = attempts.filter(
    ({ owner, error }) => error?.code === 'lease_lost' && owner.includes(`:${pid}:`),
  );
  return Math.max(0, ...lost.map(({ finishedAt }) => finishedAt.getTime() - at.getTime()));
}

/** As the daemon writes it. */
interface Attempt {
  readonly owner: string;
  readonly finishedAt: Date;
  readonly error?: { readonly code: string };
}

/** Some moment within the given time, drawn by the caller from a seed: when chaos strikes. */
export async function moment(ms: number): Promise<void> {
  await sleep(ms);
}
