// A replica is killed at any moment of its life, drawn from a seed: while it starts, at any of the requests that it works on, while it stops.
// Whatever it was about, the others do what is left, and do it once.
import type { mongo } from 'mongoose';
import { expect, test } from 'vitest';
import { createRandom, type Random } from 'stripe-simulator';
import type { Daemon } from '../support/daemon.js';
import { dyingAt, type Fleet, openFleet } from '../support/fleet.js';
import { type Journal, keepJournal } from '../support/journal.js';
import { until } from '../support/until.js';
import { expectAllDone, insertMix } from '../support/workload.js';

/** Kills in all; `FAULT_RUNS=200 npm run test:faults -- any-moment` for more. */
const runs = Number(process.env['FAULT_RUNS'] ?? 40);
/** Of the first run; each further run has the next one. */
const firstSeed = Number(process.env['FAULT_SEED'] ?? Date.now() % 1_000_000);
/** So many fleets have their runs side by side: much of a run is waiting for a lease to run out. */
const fleets = Math.min(runs, 4);

const settings = {
  REQUESTS_LEASE_MS: '1000',
  REQUESTS_POLL_INTERVAL_MS: '200',
  REQUESTS_MAX_ATTEMPTS: '20',
  REQUESTS_CONCURRENCY: '3',
};

type Stage = 'starting' | 'working' | 'stopping';

interface Scene extends Fleet {
  journal: Journal;
  survivors: Daemon[];
  /** How many dealings with MongoDB and Stripe a life has that nobody ends before its time. */
  life: Record<Stage, number>;
}

interface Plan {
  /** When it dies, as fixtures/die.mjs takes it; empty: never. */
  moment: string;
  stage: Stage | undefined;
  /** The others stand still until it is dead, so that it does all of the work. */
  isAlone: boolean;
  /** It is told to stop when so many requests have ended. */
  endsBeforeStop: number;
}

interface Death {
  stage: Stage;
  where: string;
  stuckMs: number;
}

const wholeLife: Plan = { moment: '', stage: undefined, isAlone: true, endsBeforeStop: Infinity };

function draw(random: Random, life: Scene['life'], isEarlier: number): Plan {
  const chance = random.next();
  const stage = chance < 0.2 ? 'starting' : chance < 0.75 ? 'working' : 'stopping';
  const isAlone = random.next() < 0.5;
  // Where the others work as well, it has its share.
  const dealings = life[stage] / (isAlone || stage !== 'working' ? 1 : 3);
  const dealing = Math.ceil((random.next() * dealings) / 2 ** isEarlier);
  const delayMs = [-1, 0, 1 + random.below(20)][random.below(3)];
  return {
    moment: `${stage} ${Math.max(1, dealing)} ${delayMs}`,
    stage,
    isAlone,
    endsBeforeStop: stage === 'stopping' ? random.below(17) : Infinity,
  };
}

interface Life {
  daemon: Daemon;
  ids: readonly mongo.ObjectId[];
  words: Words | undefined;
}

/**
 * Starts a replica, gives it and the others work, and tells it to stop. Resolves when it is dead, or has ended well.
 * @throws where it has ended otherwise
 */
async function live(scene: Scene, seed: number, plan: Plan): Promise<Life> {
  const { user, survivors } = scene;
  if (plan.isAlone) await Promise.all(survivors.map((daemon) => daemon.freeze()));
  let inserted = plan.stage === 'starting' ? insertMix(scene, seed) : undefined;
  const daemon = scene.launch(dyingAt(plan.moment));
  const steps = async (): Promise<void> => {
    await daemon.ready();
    daemon.signal('SIGUSR2');
    const ids = await (inserted ??= insertMix(scene, seed));
    const ended = { _id: { $in: [...ids] }, finishedAt: { $exists: true } };
    const enough = Math.min(ids.length, plan.endsBeforeStop);
    await until(async () => (await user.requests.countDocuments(ended)) >= enough, {
      what: `${enough} requests to end`,
      timeoutMs: 60_000,
      intervalMs: 10,
    });
    daemon.signal('SIGTERM');
  };
  // It may die at any step. If it does not, and a step fails, that is what it dies of.
  let trouble: unknown;
  void steps().catch((error: unknown) => {
    trouble = error;
    daemon.signal('SIGKILL');
  });
  const { code } = await daemon.exit;
  if (plan.isAlone) for (const survivor of survivors) survivor.thaw();
  const words = daemon.lines.find(({ json }) => json?.['died'])?.json as unknown as Words | undefined;
  if (!words && code !== 0) throw new Error('It ended neither well nor where it should', { cause: trouble });
  return { daemon, words, ids: await (inserted ?? insertMix(scene, seed)) };
}

async function openScene(): Promise<Scene> {
  const fleet = await openFleet({
    settings,
    simulated: { seed: { count: 600, distribution: 'growth' }, latency: { ms: 15, jitterMs: 15 } },
  });
  const survivors = await Promise.all([fleet.start(), fleet.start()]);
  await fleet.user.run({ command: 'syncAll' });
  const life = { starting: 0, working: 0, stopping: 0 };
  const scene = { ...fleet, survivors, life, journal: await keepJournal(fleet.user.requests) };

  const { daemon, ids } = await live(scene, firstSeed, wholeLife);
  await expectAllDone(scene, scene.journal, ids);
  Object.assign(life, daemon.lines.find(({ json }) => json?.['lived'])?.json?.['lived']);
  expect(Math.min(...Object.values(life))).toBeGreaterThan(0);
  return scene;
}

/** Kills one, at an earlier moment when it lives to its end, and expects that nothing is lost. */
async function killOne(scene: Scene, seed: number): Promise<Death> {
  for (let isEarlier = 0; ; isEarlier += 1) {
    const plan = draw(createRandom(seed), scene.life, isEarlier);
    const { daemon, ids, words } = await live(scene, seed, plan);
    const death = { pid: daemon.pid, at: new Date() };
    try {
      const stuckMs = await expectAllDone(scene, scene.journal, ids, death);
      if (words) return { stage: words.died, where: words.where, stuckMs };
    } catch (error) {
      const where = words ? `${words.died}, ${words.where}` : 'not killed at all';
      throw new Error(`It was ${where}`, { cause: error });
    }
  }
}

/** What fixtures/die.mjs writes at its end. */
interface Words {
  readonly died: Stage;
  readonly where: string;
}

/** How the kills were spread, to be read by a person. */
function summaryOf(deaths: readonly Death[]): string {
  const count = (names: readonly string[]): string => {
    const counts = new Map<string, number>();
    for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
    return [...counts]
      .sort(([, a], [, b]) => b - a)
      .map(([name, times]) => `${times} ${name}`)
      .join(', ');
  };
  const stuckMs = Math.max(...deaths.map((death) => death.stuckMs));
  return [
    `${deaths.length} killed from seed ${firstSeed} on: ${count(deaths.map(({ stage }) => stage))}`,
    `at: ${count(deaths.map(({ where }) => where.replace(/^.*(sending|receiving) /, '')))}`,
    `what they held was taken over within ${Math.round(stuckMs)} ms`,
  ].join('\n');
}

test(
  `a daemon killed at any of ${runs} moments of its life loses no request, the others do each exactly once, and Stripe and mirror are the same`,
  { timeout: 180_000 + runs * 20_000 },
  async () => {
    const deaths: Death[] = [];
    let next = 0;
    let isFailed = false;

    const act = async (): Promise<void> => {
      const scene = await openScene();
      for (let run = next++; run < runs && !isFailed; run = next++) {
        const seed = firstSeed + run;
        try {
          deaths.push(await killOne(scene, seed));
        } catch (error) {
          isFailed = true;
          const again = `FAULT_SEED=${seed} FAULT_RUNS=1 npm run test:faults -- any-moment`;
          throw new Error(`Seed ${seed}, to be seen again by: ${again}`, { cause: error });
        }
      }
      expect(scene.survivors.flatMap((daemon) => daemon.errors())).toEqual([]);
      for (const daemon of scene.survivors) expect(await daemon.stop()).toEqual({ code: 0, signal: null });
    };
    await Promise.all(Array.from({ length: fleets }, act));

    console.info(summaryOf(deaths));
    expect(deaths).toHaveLength(runs);
    if (runs >= 40) {
      expect(new Set(deaths.map(({ stage }) => stage))).toEqual(new Set(['starting', 'working', 'stopping']));
    }
  },
);
