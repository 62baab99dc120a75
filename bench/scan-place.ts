// What benchmarks of scans run against: Stripe's simulator and MongoDB, each a process of its own.
import { mongo } from 'mongoose';
import {
  type CustomerBytes,
  type Distribution,
  type RemoteSimulator,
  spawnSimulator,
} from 'stripe-simulator';
import { atEnd } from '../test/support/cleanup.js';
import { startReplicaSet } from '../test/support/mongodb.js';

export interface Account {
  readonly customers: number;
  /** Of each in a page, about. 1,600 where absent. */
  readonly customerBytes?: CustomerBytes | undefined;
  readonly distribution: Distribution;
  /** Of an answer, milliseconds: anything within `jitter` around `latency`. */
  readonly latency: number;
  readonly jitter: number;
}

export interface Database {
  readonly uri: string;
  readonly database: string;
}

export interface Opened {
  readonly simulator: RemoteSimulator;
  /** Ends the simulator and drops nothing: databases are those of `database()`. */
  close(): Promise<void>;
}

export interface Server {
  /** MongoDB's, for the results. */
  readonly version: string;
  open(account: Account): Promise<Opened>;
  /** A database that is empty. Those of before are dropped: only one is used at a time. */
  database(): Promise<Database>;
}

/** Starts MongoDB with as much cache and oplog as a small server has. */
export async function startServer(): Promise<Server> {
  const replicaSet = await startReplicaSet({
    enableTestCommands: false,
    args: ['--wiredTigerCacheSizeGB=1', '--oplogSize=2048'],
  });
  const client = new mongo.MongoClient(replicaSet.uri);
  atEnd(() => client.close());
  const { version } = (await client.db('admin').command({ buildInfo: 1 })) as { version: string }; // as documented
  let number = 0;
  return {
    version,
    async open({ customers: count, customerBytes = 1600, distribution, latency: ms, jitter: jitterMs }) {
      const simulator = await spawnSimulator({
        seed: { count, distribution, customerBytes },
        latency: { ms, jitterMs },
        logSize: 0,
      });
      atEnd(() => simulator.close());
      return { simulator, close: () => simulator.close() };
    },
    async database() {
      if (number > 0) await client.db(`bench${number}`).dropDatabase();
      number += 1;
      const database = `bench${number}`;
      return { uri: replicaSet.uriFor(database), database };
    },
  };
}
