// A queue with real workers on a real MongoDB, whose runs the test decides: each waits until the test ends it, or succeeds at once.
import mongoose, { mongo } from 'mongoose';
import { createLogger } from '../../src/base/logger.js';
import { type Claim, Claims } from '../../src/requests/claims.js';
import type { SyncCommand } from '../../src/requests/commands.js';
import { databaseOf, type OurDatabase } from '../../src/mongo/sync-state.js';
import { ensureRequestIndexes } from '../../src/requests/indexes.js';
import type { RequestsObserver } from '../../src/requests/observer.js';
import { isEndStatus } from '../../src/requests/request.js';
import { RequestSteps, type RequestsSettings } from '../../src/requests/steps.js';
import { type CommandRunner, RequestWorker, type CommandContext } from '../../src/requests/worker/worker.js';
import type { InsertionOrder } from '../../src/sync/telling.js';
import { type SyncResult, Tally } from '../../src/sync/outcome.js';
import { atEnd } from './cleanup.js';
import { type FreshDatabase, ours } from './database.js';
import { until } from './until.js';

/** Anything may be in a request. */
export type AnyDocument = Record<string, unknown>;
export type RequestDocument = AnyDocument & { _id: mongo.ObjectId };

/** Short enough for tests that wait for a lease or a poll. */
export const quickSettings: RequestsSettings = {
  concurrency: 4,
  pollIntervalMs: 100,
  changeStream: false,
  leaseMs: 1_500,
  maxAttempts: 3,
  retryBaseMs: 20,
  retryMaxMs: 100,
  validation: 'error',
  keepSucceededSeconds: 604_800,
  keepCronSucceededSeconds: 3_600,
  keepFailedSeconds: 2_592_000,
};

/** A process that claims, and then does what the test says. */
export class Holder extends RequestSteps {
  readonly claims: Claims;

  constructor(database: OurDatabase, owner: string, settings: RequestsSettings) {
    super(database, owner, settings);
    this.claims = new Claims(database, owner, settings);
  }
}

export const resultOf = (counts: Partial<Omit<SyncResult, 'items'>> = {}): SyncResult => ({
  ...new Tally().result(),
  ...counts,
});

/** For attempts by hand: no event tells of an insertion. */
export const noInsertions = {
  isCatchingUp: false,
  orderOf: ({ insertedAt }: Claim): Promise<InsertionOrder> =>
    Promise.resolve({ kind: 'within', from: insertedAt, to: insertedAt }),
};

/** One run that a worker has begun. */
export interface Run {
  command: SyncCommand;
  context: CommandContext;
  /** Ends it: with a result, or with an error. */
  succeed: (result?: SyncResult) => void;
  fail: (error: unknown) => void;
  isOver: boolean;
}

export interface TestRunner extends CommandRunner {
  /** Every run so far. */
  runs: Run[];
  /** The nth run, from 1; waits for it. */
  nth: (n: number) => Promise<Run>;
}

/** Runs that stand still until the test ends them; on abort they throw the signal's reason, as the real ones do. */
export function heldRunner(): TestRunner {
  const runs: Run[] = [];
  return {
    runs,
    nth: (n) => until(() => runs[n - 1], { what: `run ${n}` }),
    run: (command, context) =>
      new Promise((resolve, reject) => {
        const run: Run = {
          command,
          context,
          isOver: false,
          succeed: (result = resultOf()) => end(() => resolve(result)),
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- a runner may throw anything
          fail: (error) => end(() => reject(error)),
        };
        const end = (settle: () => void): void => {
          run.isOver = true;
          settle();
        };
        context.signal.addEventListener('abort', () => run.fail(context.signal.reason));
        runs.push(run);
      }),
  };
}

/** Runs that do what the function says; by default they succeed at once. */
export function quickRunner(
  work: (command: SyncCommand, context: CommandContext) => Promise<SyncResult> | SyncResult = () =>
    resultOf(),
): TestRunner {
  const runs: Run[] = [];
  return {
    runs,
    nth: (n) => until(() => runs[n - 1], { what: `run ${n}` }),
    run: async (command, context) => {
      const run: Run = { command, context, isOver: false, succeed: () => {}, fail: () => {} };
      runs.push(run);
      try {
        return await work(command, context);
      } finally {
        run.isOver = true;
      }
    },
  };
}

interface TestWorkerOptions {
  runner: CommandRunner;
  settings?: Partial<RequestsSettings>;
  observer?: Partial<RequestsObserver>;
  /** Wake-ups by change stream; false by default, as a stream takes the server a second to end. */
  feed?: boolean;
  owner?: string;
  onFatal?: (fault: Error) => void;
  database?: OurDatabase;
  /** False: not started, for `runOnce`. */
  start?: boolean;
}

interface LogLine {
  level: string;
  msg: string;
  [field: string]: unknown;
}

export interface RequestsLab {
  requests: mongo.Collection<RequestDocument>;
  state: mongo.Collection<AnyDocument & { _id: string }>;
  /** A connection of its own, as another process has. */
  connect: () => Promise<OurDatabase>;
  /** Inserts as a user does. */
  insert: (...documents: AnyDocument[]) => Promise<mongo.ObjectId[]>;
  read: (id: mongo.ObjectId) => Promise<RequestDocument>;
  /** The request once it has ended. */
  ended: (id: mongo.ObjectId, timeoutMs?: number) => Promise<RequestDocument>;
  /** The request once the condition holds. */
  reaching: (
    id: mongo.ObjectId,
    what: string,
    condition: (request: RequestDocument) => boolean,
    timeoutMs?: number,
  ) => Promise<RequestDocument>;
  /** A worker with a connection of its own; drained when the test ends. */
  worker: (options: TestWorkerOptions) => Promise<RequestWorker>;
  /** What all workers of this lab have logged. */
  lines: LogLine[];
  logger: ReturnType<typeof createLogger>;
}

export function requestsLab(database: FreshDatabase): RequestsLab {
  const requests = database.db.collection<RequestDocument>('sync_requests');
  const lines: LogLine[] = [];
  const logger = createLogger(
    { level: 'debug', format: 'json' },
    { write: (line) => void lines.push(JSON.parse(line) as LogLine) },
  );
  const connect = async (): Promise<OurDatabase> => {
    const connection = await mongoose
      .createConnection(database.uri, {
        bufferCommands: false,
        serverSelectionTimeoutMS: 5_000,
        monitorCommands: true,
      })
      .asPromise();
    atEnd(() => connection.close());
    return ours(databaseOf(connection));
  };
  const read = async (id: mongo.ObjectId): Promise<RequestDocument> => {
    const found = await requests.findOne({ _id: { $eq: id } });
    if (!found) throw new Error(`There is no request ${String(id)}`);
    return found;
  };
  const lab: RequestsLab = {
    requests,
    state: database.db.collection('sync_state'),
    connect,
    insert: async (...documents) => {
      const { insertedIds } = await requests.insertMany(
        documents.map((document) => ({ ...document }) as RequestDocument), // the driver adds _id
      );
      return Object.values(insertedIds);
    },
    read,
    reaching: (id, what, condition, timeoutMs = 10_000) =>
      until(
        async () => {
          const found = await read(id);
          return condition(found) && found;
        },
        { what: `request ${String(id)} to be ${what}`, timeoutMs, intervalMs: 20 },
      ),
    ended: (id, timeoutMs) => lab.reaching(id, 'ended', ({ status }) => isEndStatus(status), timeoutMs),
    worker: async ({ runner, settings, observer, feed = false, start = true, ...options }) => {
      const place = options.database ?? (await connect());
      await ensureRequestIndexes(place);
      const worker = new RequestWorker({
        database: place,
        runner,
        settings: { ...quickSettings, ...settings },
        logger,
        owner: options.owner ?? `worker-${new mongo.ObjectId().toHexString()}`,
        onFatal: options.onFatal ?? (() => {}),
        observer: {
          requestClaimed: () => {},
          requestEnded: () => {},
          scanProgressed: () => {},
          writesRefused: () => {},
          writesAccepted: () => {},
          ...observer,
        },
        feed,
      });
      atEnd(async () => {
        await worker.drain({ withinMs: 1_500 });
      });
      if (start) worker.start();
      return worker;
    },
    lines,
    logger,
  };
  return lab;
}

/** An ObjectId as if it had been made that many milliseconds ago. */
export function idOfAge(ms: number): mongo.ObjectId {
  const seconds = Math.floor((Date.now() - ms) / 1_000);
  return new mongo.ObjectId(
    seconds.toString(16).padStart(8, '0') + new mongo.ObjectId().toHexString().slice(8),
  );
}
