// Three mongod, and the primary dies, steps down or stands still: the daemons stay up, and writes go on soon after the next election.
import { mongo } from 'mongoose';
import { expect, test } from 'vitest';
import { atEnd } from '../support/cleanup.js';
import { databaseAt, openFleet } from '../support/fleet.js';
import { type Member, type ReplicaSet, startReplicaSet } from '../support/mongodb.js';
import type { AnyDocument } from '../support/requests.js';
import { until } from '../support/until.js';

const goesOnWithinMs = 5_000;
const electionTimeoutMillis = 2_000;

const faults: [string, (primary: Member) => Promise<unknown>][] = [
  ['is killed', (primary) => primary.kill()],
  ['steps down', stepDown],
  ['stands still', (primary) => primary.freeze()],
];

async function stepDown({ host }: Member): Promise<void> {
  const client = await direct(host);
  await client.db('admin').command({ replSetStepDown: 60, force: true });
}

async function direct(host: string): Promise<mongo.MongoClient> {
  const client = await mongo.MongoClient.connect(`mongodb://${host}/`, {
    directConnection: true,
    appName: 'test-support',
  });
  atEnd(() => client.close());
  return client;
}

/** When this primary was elected, by its clock. */
async function electedAt({ host }: Member): Promise<Date> {
  const client = await direct(host);
  const status = await client.db('admin').command({ replSetGetStatus: 1 });
  return (status['electionCandidateMetrics'] as { lastElectionDate: Date }).lastElectionDate;
}

async function otherPrimary(set: ReplicaSet, before: Member): Promise<Member> {
  return until(
    async () => {
      const primary = await set.primary(5_000);
      return primary.host !== before.host && primary;
    },
    { what: 'another primary', timeoutMs: 40_000 },
  );
}

test.each(faults)(
  'when the primary %s the daemons stay up, work goes on within 5 s of the election, and nothing is lost',
  async (_name, strike) => {
    const set = await startReplicaSet({ members: 3, electionTimeoutMillis });
    const uri = set.uriFor('stripe', {
      socketTimeoutMS: '5000',
      connectTimeoutMS: '2000',
      heartbeatFrequencyMS: '1000',
    });
    const fleet = await openFleet({
      simulated: { seed: { count: 400 }, latency: { ms: 50 } },
      settings: { REQUESTS_LEASE_MS: '10000', MONGODB_URI: set.uriFor('stripe') },
      database: databaseAt(uri),
    });
    const { user, simulator } = fleet;
    const daemons = await Promise.all([fleet.start(), fleet.start()]);
    await user.run({ command: 'syncAll' });
    const before = await set.primary();
    const acknowledged: mongo.ObjectId[] = [];
    const over = new AbortController();
    /** As services do all the time; what MongoDB does not acknowledge is not promised. */
    const inserting = (async () => {
      for (let each = 0; !over.signal.aborted; each += 1) {
        const ids = simulator.listIds().slice(each % 300, (each % 300) + 2);
        const document: AnyDocument =
          each % 20 === 0 ? { command: 'syncAll' } : { command: 'syncByIds', ids };
        acknowledged.push(...(await user.insert(document).catch(() => [])));
        await user.requests.findOne({}, { projection: { _id: 1 } }).catch(() => null);
      }
    })();
    await until(() => acknowledged.length > 30, { what: 'some requests' });

    await strike(before);
    simulator.updateRandom(50);
    const elected = await electedAt(await otherPrimary(set, before));

    const first = await until(
      () => user.requests.findOne({ finishedAt: { $gt: elected } }, { sort: { finishedAt: 1 } }),
      { what: 'the first request to end under the new primary', timeoutMs: 60_000 },
    );
    over.abort();
    await inserting;
    expect((first['finishedAt'] as Date).getTime() - elected.getTime()).toBeLessThan(goesOnWithinMs);
    await user.allEnded(acknowledged, 60_000);
    expect(await user.run({ command: 'syncAll' })).toMatchObject({ status: 'succeeded' });
    const ended = await user.requests.find({ _id: { $in: acknowledged } }).toArray();
    expect(ended.filter(({ status }) => status !== 'succeeded' && status !== 'coalesced')).toEqual([]);
    expect(await fleet.differences()).toEqual([]);
    for (const daemon of daemons) expect(await daemon.stop()).toEqual({ code: 0, signal: null });
  },
);
