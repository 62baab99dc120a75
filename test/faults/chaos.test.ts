// Five replicas, and one fault after the other of every kind, drawn from a seed: whatever happens, no law is broken.
import type { mongo } from 'mongoose';
import { createRandom, type Random, type StripeSimulator } from 'stripe-simulator';
import { expect, test } from 'vitest';
import type { Daemon } from '../support/daemon.js';
import { type FreshDatabase, freshDatabase } from '../support/database.js';
import { type Fleet, leaseMs, openFleet } from '../support/fleet.js';
import { keepJournal } from '../support/journal.js';
import { insertMix, moment } from '../support/workload.js';

/** `CHAOS_STRIKES=200 npm run test:faults -- chaos` for minutes of it, `FAULT_SEED` of a failed run to see it again. */
const strikes = Number(process.env['CHAOS_STRIKES'] ?? 10);
const seed = Number(process.env['FAULT_SEED'] ?? Date.now() % 1_000_000);
const replicas = 5;

interface Scene {
  random: Random;
  database: FreshDatabase;
  fleet: Fleet;
  daemons: Daemon[];
}

/** Each returns when it is over; what it takes away it replaces. */
const faults: Record<string, (scene: Scene) => Promise<void>> = {
  kill: async ({ random, fleet, daemons }) => {
    const [victim] = daemons.splice(random.below(daemons.length), 1);
    victim!.signal('SIGKILL');
    await victim!.exit;
    daemons.push(await fleet.start());
  },
  restart: async ({ random, fleet, daemons }) => {
    const [leaving] = daemons.splice(random.below(daemons.length), 1);
    expect(await leaving!.stop()).toEqual({ code: 0, signal: null });
    daemons.push(await fleet.start());
  },
  pause: async ({ random, daemons }) => {
    const paused = daemons[random.below(daemons.length)]!;
    await paused.freeze();
    await moment(leaseMs * (0.5 + random.next()));
    paused.thaw();
  },
  cutConnections: async ({ random, database }) => {
    const cut = await database.failCommand({
      failCommands: ['update', 'findAndModify', 'find', 'insert', 'getMore'],
      closeConnection: true,
      times: 1 + random.below(30),
    });
    await moment(1_000);
    await cut.off();
  },
  loseAnswers: async ({ random, database }) => {
    const lost = await database.failCommand({
      failCommands: ['update', 'findAndModify', 'insert'],
      writeConcernError: { code: 64, errmsg: 'late' },
      times: 1 + random.below(20),
    });
    await moment(1_000);
    await lost.off();
  },
  stripe: async ({ random, fleet: { simulator } }) => {
    const times = 1 + random.below(20);
    const kinds: Parameters<StripeSimulator['fault']>[0][] = [
      { kind: 'reset', times },
      { kind: 'status', status: 500, times },
      { kind: 'rateLimit', reason: 'global-rate', times },
      { kind: 'truncate', times },
    ];
    simulator.fault(kinds[random.below(kinds.length)]!);
    await moment(1_000);
    simulator.clearFaults();
  },
};

test(
  `${replicas} replicas under ${strikes} faults of all kinds end every request exactly once, and Stripe and mirror are the same`,
  { timeout: 240_000 + strikes * 30_000 },
  async () => {
    const database = freshDatabase();
    const fleet = await openFleet({
      database,
      simulated: { seed: { count: 900, distribution: 'growth' }, latency: { ms: 60, jitterMs: 60 } },
      settings: { REQUESTS_MAX_ATTEMPTS: '100', REQUESTS_RETRY_MAX_MS: '1000' },
    });
    const daemons = await Promise.all(Array.from({ length: replicas }, () => fleet.start()));
    await fleet.user.run({ command: 'syncAll' });
    const journal = await keepJournal(fleet.user.requests);
    const random = createRandom(seed);
    const scene: Scene = { random, database, fleet, daemons };
    const names = Object.keys(faults);
    const asked: mongo.ObjectId[] = [];
    const story: string[] = [];

    try {
      for (let strike = 0; strike < strikes; strike += 1) {
        asked.push(...(await insertMix(fleet, seed + strike)));
        await moment(random.next() * 1_000);
        const name = names[random.below(names.length)]!;
        story.push(name);
        await faults[name]!(scene);
      }
      const ended = await fleet.user.allEnded(asked, 120_000);
      const ends = await journal.ends();

      expect(ended.filter(({ status }) => status !== 'succeeded' && status !== 'coalesced')).toEqual([]);
      expect(asked.filter((id) => ends.get(String(id))?.length !== 1)).toEqual([]);
      // What changed behind a scan's cursor is for the next one.
      expect(await fleet.user.run({ command: 'syncAll' })).toMatchObject({ status: 'succeeded' });
      expect(await fleet.differences()).toEqual([]);
      for (const daemon of daemons) expect(await daemon.stop()).toEqual({ code: 0, signal: null });
    } catch (error) {
      throw new Error(`With FAULT_SEED=${seed} after ${story.join(', ')}`, { cause: error });
    }
  },
);
