// Five daemons on one rate limiter, and Stripe in a process of its own that refuses what is more than a tenth above the rate.
import type { mongo } from 'mongoose';
import { expect, test } from 'vitest';
import { spawnSimulator } from 'stripe-simulator';
import { atEnd } from '../support/cleanup.js';
import { startDaemon, UserOfQueue } from '../support/daemon.js';
import { type FreshDatabase, freshDatabase } from '../support/database.js';
import { mostPerSecond } from '../support/slot-model.js';

const rate = 25;
const replicas = 5;
const idsEach = 20;
const requests = 25;

interface Take {
  take: { slots: { at: number }[] };
}

/** Records when slots were due that any replica was granted from now on, on MongoDB's clock. */
async function recordGrants({ db }: FreshDatabase): Promise<() => Promise<number[]>> {
  const state = db.collection<{ _id: string }>('sync_state');
  // Post-images: a look-up would show the state at the time of looking.
  await db.command({ collMod: 'sync_state', changeStreamPreAndPostImages: { enabled: true } });
  const ofLimiter = { $match: { 'documentKey._id': { $in: ['rate-limiter', 'end'] } } };
  const stream = state.watch<mongo.BSON.Document, mongo.BSON.Document>([ofLimiter], {
    fullDocument: 'whenAvailable',
  });
  atEnd(() => stream.close());
  await stream.tryNext();
  return async () => {
    await state.insertOne({ _id: 'end' });
    const granted: number[] = [];
    for (;;) {
      const change = await stream.next();
      if ((change['documentKey'] as { _id: string })._id === 'end') return granted;
      const { take } = change['fullDocument'] as Take; // written by the limiter
      granted.push(...take.slots.map(({ at }) => at));
    }
  };
}

function medianGap(times: readonly number[]): number {
  const sorted = [...times].sort((a, b) => a - b);
  const gaps = sorted.slice(1).map((time, index) => time - sorted[index]!);
  return gaps.sort((a, b) => a - b)[Math.floor(gaps.length / 2)]!;
}

test('five processes never exceed the rate in any second, use all of it, and have nothing refused', async () => {
  const database = freshDatabase();
  const simulator = await spawnSimulator({
    seed: { count: 500 },
    latency: { ms: 60, jitterMs: 40 },
    limits: { globalPerSecond: Math.floor(rate * 1.1) },
  });
  atEnd(() => simulator.close());
  const settings = {
    STRIPE_CALLS_PER_SECOND: String(rate),
    STRIPE_CALLS_PER_SECOND_PER_ENDPOINT: String(rate),
    STRIPE_MAX_IN_FLIGHT: '4',
    REQUESTS_LEASE_MS: '20000',
    REQUESTS_CONCURRENCY: '2',
  };
  const daemons = Array.from({ length: replicas }, () => startDaemon(database, simulator, settings));
  await Promise.all(daemons.map((daemon) => daemon.ready()));
  const granted = await recordGrants(database);
  const ids = await simulator.listIds();

  const user = new UserOfQueue(database.db);
  const asked = await user.insert(
    ...Array.from({ length: requests }, (_, index) => ({
      command: 'syncByIds',
      ids: ids.slice(index * idsEach, (index + 1) * idsEach),
    })),
  );
  const ended = await user.allEnded(asked, 120_000);

  expect(ended.filter(({ status, attempts }) => status !== 'succeeded' || attempts !== 1)).toEqual([]);
  expect(new Set(ended.map(({ lease }) => (lease as { owner: string }).owner)).size).toBe(replicas);
  const grants = await granted();
  expect(grants.length).toBeGreaterThanOrEqual(requests * idsEach);
  expect(mostPerSecond(grants)).toBeLessThanOrEqual(rate);
  expect(medianGap(grants)).toBeCloseTo(1_000 / rate, 1);
  const { refused } = await simulator.stats();
  expect(refused).toEqual({});
});
