// MongoDB's own fault injection: the server answers chosen commands with an error, late, or not at all.
import { mongo } from 'mongoose';
import { atEnd } from './cleanup.js';
import { until } from './until.js';

export interface FailCommandOptions {
  /** Names of commands, such as `insert`, `update`, `find`, `findAndModify`, `aggregate`, `getMore`. */
  failCommands: string[];
  /** Only for clients whose `appName` is this one. */
  appName?: string;
  /** Only for commands on this collection, as `database.collection`. */
  namespace?: string;
  /** How many commands fail; without it all of them, until `off()`. */
  times?: number;
  errorCode?: number;
  /** Cuts the connection instead of answering. */
  closeConnection?: boolean;
  /** Holds the command back for `blockTimeMS`, then runs it. */
  blockConnection?: boolean;
  blockTimeMS?: number;
  /** Runs the command, then reports this beside its result. */
  writeConcernError?: { code: number; errmsg: string };
  errorLabels?: string[];
}

export interface Failpoint {
  /** How often it has been entered so far. */
  timesEntered: () => Promise<number>;
  /** Ends it; it also ends with the test. */
  off: () => Promise<void>;
}

/**
 * Sets the server's failpoint `failCommand` at the primary that `uri` leads to. A server has one of it, so other
 * processes that want it wait for `off()`, at most a minute; a second one in this process throws.
 * See https://github.com/mongodb/mongo/wiki/The-%22failCommand%22-fail-point
 */
export async function failCommand(uri: string, options: FailCommandOptions): Promise<Failpoint> {
  const { times, ...data } = options;
  const client = await connectToPrimary(uri);
  const admin = client.db('admin');
  let isOn = false;
  let enteredBefore = 0;

  const off = async (): Promise<void> => {
    if (!isOn) {
      return;
    }
    isOn = false;
    try {
      await admin.command({ configureFailPoint: 'failCommand', mode: 'off' });
      await unlock(client);
    } finally {
      await client.close();
    }
  };

  try {
    await lock(client);
    isOn = true;
    atEnd(off);
    const answer = await admin.command({
      configureFailPoint: 'failCommand',
      mode: times === undefined ? 'alwaysOn' : { times },
      data,
    });
    enteredBefore = answer['count'] as number;
  } catch (error) {
    await (isOn ? off() : client.close());
    throw error;
  }

  const timesEntered = async (): Promise<number> => {
    const answer = await admin.command({ getParameter: 1, 'failpoint.failCommand': 1 });
    const { timesEntered: count } = answer['failpoint.failCommand'] as { timesEntered: number };
    return count - enteredBefore;
  };
  return { timesEntered, off };
}

/** A client of this file's own, straight to the primary: failpoints belong to one server, not to the set. */
async function connectToPrimary(uri: string): Promise<mongo.MongoClient> {
  const seed = await mongo.MongoClient.connect(uri, {
    appName: 'failpoint',
    serverSelectionTimeoutMS: 10_000,
  });
  try {
    const { me } = (await seed.db('admin').command({ hello: 1 }, { readPreference: 'primary' })) as {
      me?: string;
    };
    if (me === undefined) {
      throw new Error('Failpoints are set at a replica set, got a standalone server');
    }
    const { username, password } = seed.options.credentials ?? {};
    return await mongo.MongoClient.connect(`mongodb://${me}/`, {
      appName: 'failpoint',
      directConnection: true,
      ...(username ? { auth: { username, password: password ?? '' } } : {}),
    });
  } finally {
    await seed.close();
  }
}

interface Lock {
  _id: string;
  pid: number;
}

const locks = (client: mongo.MongoClient): mongo.Collection<Lock> =>
  client.db('test_support').collection('locks');

/** Takes the server's one failpoint for this process; a lock whose process has died is taken over. */
async function lock(client: mongo.MongoClient): Promise<void> {
  await until(
    async () => {
      const holder = await locks(client).findOne({ _id: 'failCommand' });
      if (holder?.pid === process.pid) {
        return 'ours already';
      }
      if (holder && !isAlive(holder.pid)) {
        await locks(client).deleteOne(holder);
      }
      await locks(client).insertOne({ _id: 'failCommand', pid: process.pid });
      return 'taken';
    },
    { what: 'the failpoint failCommand, which another process holds', timeoutMs: 60_000 },
  ).then((result) => {
    if (result === 'ours already') {
      throw new Error('A server has one failCommand at a time; call off() before setting the next');
    }
  });
}

async function unlock(client: mongo.MongoClient): Promise<void> {
  await locks(client).deleteOne({ _id: 'failCommand', pid: process.pid });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
