// The real daemon as a process of its own, its HTTP endpoints, and its queue as a service in any language would use it.
import { type mongo } from 'mongoose';
import type { AnyDocument, RequestDocument } from './requests.js';
import { type Line, type RunningProcess, startProcess } from './process.js';
import { until } from './until.js';

/** Where the daemon finds MongoDB. */
export interface Database {
  uri: string;
}

/** Settings by the names of the environment. */
export type Settings = Record<string, string>;

export interface LogFields extends Record<string, unknown> {
  level: string;
  msg: string;
}

interface Answer {
  status: number;
  body: string;
}

export interface Daemon extends RunningProcess {
  /** Asks `/readyz`, `/healthz` or `/metrics`; waits until it listens. */
  get: (path: string) => Promise<Answer>;
  /** Resolves when `/readyz` says 200. */
  ready: () => Promise<void>;
  /** The samples of `/metrics` by name and labels, as they are written there. */
  samples: () => Promise<ReadonlyMap<string, number>>;
  /** What it has logged so far. */
  logs: () => LogFields[];
  /** Of those the errors, by their messages. */
  errors: () => LogFields[];
}

/** Leases and polls that a test can wait for, no cron, no limit of the rate, any free port. */
const quickSettings: Settings = {
  SYNC_ALL_SCHEDULE: '',
  REQUESTS_POLL_INTERVAL_MS: '400',
  REQUESTS_LEASE_MS: '2000',
  REQUESTS_RETRY_BASE_MS: '100',
  STRIPE_CALLS_PER_SECOND: '0',
  STRIPE_CALLS_PER_SECOND_PER_ENDPOINT: '0',
  HTTP_HOST: '127.0.0.1',
  HTTP_PORT: '0',
  LOG_FORMAT: 'json',
  LOG_LEVEL: 'debug',
};

/**
 * Starts `stripe-mongo-sync run`. Returns at once; it ends with the test.
 * @param entry absolute path of another build's main.js
 */
export function startDaemon(
  { uri }: Database,
  simulator: { url: string; restrictedKey: string },
  settings: Settings = {},
  entry?: string,
): Daemon {
  const { STRIPE_API_KEY_FILE: keyFile } = settings;
  const started = startProcess({
    args: ['run'],
    ...(entry !== undefined && { entry }),
    env: {
      ...quickSettings,
      ...(keyFile === undefined && { STRIPE_API_KEY: simulator.restrictedKey }),
      STRIPE_API_BASE: simulator.url,
      MONGODB_URI: uri,
      ...settings,
    },
  });
  const get = async (path: string): Promise<Answer> => {
    const { json } = await started.waitForLine(said('Listening'), { what: 'the port' });
    const answer = await fetch(`${String(json?.['url'])}${path}`);
    return { status: answer.status, body: await answer.text() };
  };
  const logs = (): LogFields[] => started.lines.flatMap(({ json }) => (json ? [json as LogFields] : []));
  return {
    ...started,
    get,
    ready: async () => {
      // Fails at once, with what it said, where it ends instead.
      await started.waitForLine(said('Started'), { what: 'the start', timeoutMs: 60_000 });
      await untilReady(get);
    },
    samples: async () => samplesOf((await get('/metrics')).body),
    logs,
    errors: () => logs().filter(({ level }) => level === 'error' || level === 'fatal'),
  };
}

/** Resolves when `/readyz` says 200. @param get asks for a path; to fail is to be not ready yet */
export async function untilReady(
  get: (path: string) => Promise<{ readonly status: number }>,
  timeoutMs?: number,
): Promise<void> {
  await until(async () => (await get('/readyz')).status === 200, {
    what: 'the daemon to be ready',
    ...(timeoutMs !== undefined && { timeoutMs }),
  });
}

export const said =
  (message: string) =>
  ({ json }: Line): boolean =>
    json?.['msg'] === message;

/** Samples of the text format (https://prometheus.io/docs/instrumenting/exposition_formats/). */
export function samplesOf(text: string): ReadonlyMap<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const end = line.lastIndexOf(' ');
      return [line.slice(0, end), Number(line.slice(end + 1).replace('Inf', 'Infinity'))] as const;
    }),
  );
}

/** A queue as its users see it: a plain driver, no code of ours. */
export class UserOfQueue {
  readonly requests: mongo.Collection<RequestDocument>;

  constructor(db: mongo.Db) {
    this.requests = db.collection<RequestDocument>('sync_requests');
  }

  /** Nonsense, too: as from somebody who may switch off the validation. */
  async insert(...documents: AnyDocument[]): Promise<mongo.ObjectId[]> {
    const { insertedIds } = await this.requests.insertMany(documents as RequestDocument[], {
      bypassDocumentValidation: true,
    });
    return Object.values(insertedIds);
  }

  /** The request once the condition holds. */
  async reaching(
    _id: mongo.ObjectId,
    what: string,
    condition: (request: RequestDocument) => boolean,
    timeoutMs = 60_000,
  ): Promise<RequestDocument> {
    return until(
      async () => {
        const found = await this.requests.findOne({ _id });
        return found && condition(found) && found;
      },
      { what: `the request to be ${what}`, timeoutMs },
    );
  }

  async ended(_id: mongo.ObjectId, timeoutMs?: number): Promise<RequestDocument> {
    return this.reaching(_id, 'ended', ({ status }) => ends.includes(String(status)), timeoutMs);
  }

  /** All of them as they ended, in their order; one question at a time, however many they are. */
  async allEnded(ids: readonly mongo.ObjectId[], timeoutMs = 20_000): Promise<RequestDocument[]> {
    const asked = { _id: { $in: [...ids] } };
    const areEnded = async (): Promise<boolean> =>
      (await this.requests.countDocuments({ ...asked, status: { $in: ends } })) === ids.length;
    await until(areEnded, { what: `all ${ids.length} requests to end`, timeoutMs }).catch(
      async (error: unknown) => {
        const others = await this.requests
          .find({ ...asked, status: { $nin: ends } }, { limit: 5, sort: { status: -1 } })
          .toArray();
        throw new Error(`${String(error)}; of the others: ${JSON.stringify(others)}`, { cause: error });
      },
    );
    const found = new Map(
      (await this.requests.find(asked).toArray()).map((each) => [String(each._id), each]),
    );
    return ids.flatMap((id) => found.get(String(id)) ?? []);
  }

  /** Inserts one and returns it as it ended. */
  async run(document: AnyDocument): Promise<RequestDocument> {
    const [_id] = await this.insert(document);
    return this.ended(_id!);
  }
}

const ends = ['succeeded', 'partial', 'failed', 'cancelled', 'coalesced'];

/** Counts above zero of a request's result. */
export function countsOf({ result }: RequestDocument): Record<string, number> {
  const entries = Object.entries((result ?? {}) as Record<string, unknown>);
  return Object.fromEntries(
    entries.flatMap(([name, value]) => (typeof value === 'number' && value > 0 ? [[name, value]] : [])),
  );
}

/** Ids of what the mirror holds and does not mark as deleted, sorted. */
export async function liveIds(db: mongo.Db): Promise<string[]> {
  const found = await db.collection<{ _id: string }>('stripe_customers_live').find().toArray();
  return found.map(({ _id }) => _id).sort();
}
