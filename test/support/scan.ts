// Everything a scan needs, real: a mirror in MongoDB, the Stripe gateway over HTTP to a simulator of the test's own.
import type { mongo } from 'mongoose';
import { pino } from 'pino';
import { type SimulatorOptions, startSimulator, type StripeSimulator } from 'stripe-simulator';
import { Fault } from '../../src/base/errors.js';
import { loadConfig } from '../../src/config/load.js';
import { createScanState } from '../../src/mirror/scan-state.js';
import { createMongoClock } from '../../src/mongo/clock.js';
import { defaultNames, stateOf } from '../../src/mongo/sync-state.js';
import { createBudget } from '../../src/rate/budget.js';
import { customer } from '../../src/resources/customer.js';
import { createStripeGateway } from '../../src/stripe/gateway.js';
import type { SyncResult } from '../../src/sync/outcome.js';
import type { SharedClock, Source } from '../../src/sync/ports.js';
import { type ApproveOptions, approveRemovals } from '../../src/sync/scan/approve-removals.js';
import { scan, type ScanOptions, type ScanReport } from '../../src/sync/scan/scan.js';
import type { ScanState } from '../../src/sync/scan/state.js';
import { atEnd } from './cleanup.js';
import { type FreshDatabase, ours } from './database.js';
import { openMirror, type TestMirror } from './mirror.js';
import { silentStripeObserver } from './stripe-gateway.js';

interface BenchScanOptions extends Partial<ScanOptions> {
  /** How many windows are walked side by side, instead of what the gateway finds worth having. */
  listsAtOnce?: number;
}

export interface ScanBench extends TestMirror {
  simulator: StripeSimulator;
  source: Source;
  clock: SharedClock;
  state: ScanState;
  /** Ends its calls and counts the last of them. */
  closeGateway: () => Promise<void>;
  /** One scan to its end. */
  scan: (options?: BenchScanOptions) => Promise<ScanReport>;
  /** Goes on with the removals that the scan of this request has held. */
  approve: (heldFor: string, options?: Partial<ApproveOptions>) => Promise<SyncResult>;
  /** Whom the mirror has and Stripe has not confirmed as deleted, sorted. */
  mirroredIds: () => Promise<string[]>;
  /** Fails unless the mirror holds exactly what a complete listing of the simulator returns. */
  differences: () => Promise<string[]>;
}

/**
 * The life of a process that is killed: from its end on nothing that it asks of its ports is done, and what was done meanwhile it never
 * learns of.
 */
export class Life {
  #isOver = false;

  get isOver(): boolean {
    return this.#isOver;
  }

  end(): void {
    this.#isOver = true;
  }

  /** The port as this process has it. */
  portOf<T extends object>(port: T): T {
    return new Proxy(port, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== 'function') return member;
        return (...args: unknown[]): unknown => {
          this.#check();
          const answer: unknown = Reflect.apply(member, target, args);
          return answer instanceof Promise ? answer.finally(() => this.#check()) : answer;
        };
      },
    });
  }

  #check(): void {
    if (this.#isOver) throw new Fault('internal', 'The process was killed', { kind: 'retryable' });
  }
}

/** Limits are off unless the settings say otherwise. */
export async function openScanBench(
  database: FreshDatabase,
  simulated: SimulatorOptions = {},
  settings: Record<string, unknown> = {},
): Promise<ScanBench> {
  const opened = await openMirror(database);
  const simulator = await startSimulator(simulated);
  atEnd(() => simulator.close());
  const { config } = loadConfig({
    env: {},
    options: {
      stripe: {
        apiKey: simulator.restrictedKey,
        apiBase: simulator.url,
        callsPerSecond: 0,
        callsPerSecondPerEndpoint: 0,
        maxInFlight: 8,
        ...settings,
      },
    },
  });
  const clock = createMongoClock(opened.db);
  const gateway = createStripeGateway({
    config: config.stripe,
    verifyKey: () => Promise.resolve(),
    confirmBinding: () => Promise.resolve(),
    budget: createBudget(stateOf(ours(opened.db))),
    clock,
    observer: silentStripeObserver,
    logger: pino({ level: 'silent' }),
  });
  atEnd(() => gateway.close());
  const source = gateway.source(customer);
  const state = createScanState(stateOf(ours(opened.db)), 'customer');
  const living = { '_sync.deletedBy': { $ne: 'stripe' } };
  const documents = opened.db.collection<{ _id: string }>(defaultNames.customers);

  return {
    ...opened,
    simulator,
    source,
    clock,
    state,
    closeGateway: () => gateway.close(),
    scan: ({ listsAtOnce, ...options } = {}) =>
      scan({
        mirror: opened.mirror,
        state,
        removals: { maxRatio: 0.01, maxCount: 100 },
        retrievesAtOnce: 4,
        settleWithinMs: 10_000,
        requestId: 'test',
        signal: new AbortController().signal,
        ...options,
        source: {
          ...(options.source ?? source),
          ...(listsAtOnce !== undefined && { listsAtOnce: () => listsAtOnce }),
        },
      }),
    approve: (heldFor, options = {}) =>
      approveRemovals({
        source,
        mirror: opened.mirror,
        state,
        heldFor,
        retrievesAtOnce: 4,
        signal: new AbortController().signal,
        ...options,
      }),
    mirroredIds: async () => {
      const found = await documents.find(living, { projection: { _id: 1 } }).toArray();
      return found.map(({ _id }) => _id).sort();
    },
    differences: async () => {
      const stored = new Map((await documents.find(living).toArray()).map((found) => [found._id, found]));
      const listed = simulator.list();
      const missing = listed.filter(({ id }) => !stored.has(id)).map(({ id }) => `${id} is missing`);
      const different = listed.filter(({ id }) => {
        const { _id, _sync, app, ...fields } = (stored.get(id) ?? {}) as mongo.Document;
        return stored.has(id) && JSON.stringify(fields) !== JSON.stringify(simulator.get(id));
      });
      const ids = new Set(listed.map(({ id }) => id));
      const extra = [...stored.keys()].filter((id) => !ids.has(id)).map((id) => `${id} is not at Stripe`);
      return [...missing, ...different.map(({ id }) => `${id} differs`), ...extra];
    },
  };
}
