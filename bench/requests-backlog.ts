// How fast one daemon works off what was inserted while none ran.
import type { mongo } from 'mongoose';
import { until } from '../test/support/until.js';
import { type DaemonPlace, startBenchDaemon } from './requests-daemon.js';

export interface Backlog {
  readonly count: number;
  /** From the first claim to the last end, by MongoDB's clock. */
  readonly seconds: number;
  readonly perSecond: number;
}

interface Timed extends mongo.Document {
  readonly status: string;
  readonly startedAt: Date;
  readonly finishedAt: Date;
}

export async function measureBacklog(
  bench: DaemonPlace & { readonly db: mongo.Db },
  count: number,
): Promise<Backlog> {
  const collection = bench.db.collection<Timed>('sync_requests');
  const customers = bench.db.collection<{ _id: string }>('stripe_customers');
  const found = await customers
    .find({ '_sync.deletedAt': null }, { projection: { _id: 1 }, limit: count })
    .toArray();
  const requestedBy = 'backlog';
  await collection.insertMany(
    // As a user inserts them: the rest is the daemon's to fill in.
    Array.from({ length: count }, (_, index) => ({
      command: 'softDelete',
      stripeId: found[index % found.length]?._id,
      requestedBy,
    })) as unknown as Timed[],
  );
  const daemon = await startBenchDaemon(bench, { rate: 'limited' });
  const isDone = async (): Promise<boolean> =>
    (await collection.countDocuments({ requestedBy, status: 'succeeded' })) === count;
  await until(isDone, { what: 'the backlog to end', timeoutMs: 600_000, intervalMs: 500 });
  await daemon.stop();
  const [times] = await collection
    .aggregate<{ first: Date; last: Date }>([
      { $match: { requestedBy } },
      { $group: { _id: null, first: { $min: '$startedAt' }, last: { $max: '$finishedAt' } } },
    ])
    .toArray();
  if (!times) throw new Error('The backlog is gone');
  const seconds = (times.last.getTime() - times.first.getTime()) / 1_000;
  return { count, seconds: Number(seconds.toFixed(2)), perSecond: Math.round(count / seconds) };
}
