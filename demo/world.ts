// What the demo runs on: a real MongoDB replica set, the Stripe simulator (or a real account), and the real daemon as its own process.
import { mongo } from 'mongoose';
import { atEnd } from '../test/support/cleanup.js';
import { startReplicaSet } from '../test/support/mongodb.js';
import { freePort, type RunningProcess, startProcess } from '../test/support/process.js';
import { until } from '../test/support/until.js';

export const databaseName = 'stripe';

/** So short that a demo can wait for a takeover. */
export const leaseMs = 3_000;
export const pollIntervalMs = 1_000;

/** A daemon at work. */
export interface Replica {
  readonly daemon: RunningProcess;
  /** `http://127.0.0.1:port` of /metrics, /healthz and /readyz. */
  readonly http: string;
  /** What it calls itself in leases. */
  readonly owner: string;
}

export interface World extends Replica {
  readonly mongodbUri: string;
  readonly db: mongo.Db;
}

export async function startMongoDB(): Promise<{ uri: string; db: mongo.Db }> {
  const replicaSet = await startReplicaSet({ enableTestCommands: false });
  const uri = replicaSet.uriFor(databaseName);
  const client = await mongo.MongoClient.connect(uri, { appName: 'demo', monitorCommands: false });
  atEnd(() => client.close());
  return { uri, db: client.db(databaseName) };
}

/** Starts `stripe-mongo-sync run` and waits until it is ready. */
export async function startDaemon(
  mongodbUri: string,
  settings: Readonly<Record<string, string>>,
): Promise<Replica> {
  const port = await freePort();
  const http = `http://127.0.0.1:${port}`;
  const daemon = startProcess({
    args: ['run'],
    env: {
      MONGODB_URI: mongodbUri,
      HTTP_HOST: '127.0.0.1',
      HTTP_PORT: String(port),
      LOG_FORMAT: 'json',
      ...settings,
    },
  });
  const ready = until(async () => (await fetch(`${http}/readyz`)).ok, {
    what: 'the daemon to be ready',
    timeoutMs: 60_000,
  });
  const ended = daemon.exit.then(({ code }) => {
    const said = daemon.lines.map(({ text }) => text).slice(-5);
    throw new Error(`The daemon ended with exit code ${code}; it said:\n${said.join('\n')}`);
  });
  await Promise.race([ready, ended]);
  ended.catch(() => undefined); // from now on its end is awaited where it is stopped
  const started = daemon.lines.find(({ json }) => json?.['msg'] === 'Started');
  return { daemon, http, owner: String(started?.json?.['owner']) };
}

/** Time for the daemon to start before its slot comes, on a slow machine too: a slot before its first start is not caught up. */
export const secondsToSlot = 12;

/** A cron expression, with seconds, for one moment some seconds from now, in UTC. */
export function cronIn(seconds: number): string {
  const at = new Date(Date.now() + seconds * 1_000);
  return [
    at.getUTCSeconds(),
    at.getUTCMinutes(),
    at.getUTCHours(),
    at.getUTCDate(),
    at.getUTCMonth() + 1,
    '*',
  ].join(' ');
}

/** Counts every change of the mirror from now on, by MongoDB's own change stream. */
export async function watchMirror(db: mongo.Db): Promise<{ settle: () => Promise<Record<string, number>> }> {
  const markers = db.collection('demo_markers');
  await markers.insertOne({});
  const stream = db.watch([{ $match: { 'ns.coll': { $in: ['stripe_customers', 'demo_markers'] } } }]);
  const counts: Record<string, number> = {};
  // The cursor exists on the server only after the first call.
  await stream.tryNext();
  return {
    /** The changes until now, by kind. */
    settle: async () => {
      const { insertedId } = await markers.insertOne({});
      for await (const change of stream) {
        if (!('ns' in change) || !('coll' in change.ns)) continue;
        if (change.ns.coll === 'demo_markers') {
          if ('documentKey' in change && insertedId.equals(change.documentKey._id)) break;
        } else {
          counts[change.operationType] = (counts[change.operationType] ?? 0) + 1;
        }
      }
      await stream.close();
      return counts;
    },
  };
}
