// A database of its own for each test file (or test) on the shared replica set, and a check that no connection to it
// is left open.
import { randomUUID } from 'node:crypto';
import { mongo } from 'mongoose';
import { inject } from 'vitest';
import { atEnd } from './cleanup.js';
import { defaultNames, type OurDatabase } from '../../src/mongo/sync-state.js';
import { type Failpoint, type FailCommandOptions, failCommand } from './failpoint.js';
import { until } from './until.js';

export interface FreshDatabase {
  name: string;
  /**
   * Connects to this database, with an `appName` of its own. A client that overrides that name is not seen by
   * `failCommand` nor by the leak check.
   */
  uri: string;
  appName: string;
  /** A native handle, for arranging and asserting; connects on first use. */
  db: mongo.Db;
  /** The server's failpoint, for the clients of this database only; ends with the test. */
  failCommand: (options: Omit<FailCommandOptions, 'appName'>) => Promise<Failpoint>;
}

/**
 * A new, empty database. Call it at the top of a test file, in a hook or in a test: it is dropped when the file or that
 * test ends, which fails if a client still holds a connection `closeWithinMs` later (5,000).
 */
export function freshDatabase({ closeWithinMs = 5_000 } = {}): FreshDatabase {
  const shared = inject('mongodbUri') as string | undefined; // the types know nothing of suites
  if (shared === undefined) {
    throw new Error('This test file is in the suite without MongoDB; see vitest.config.ts');
  }
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  const own = new mongo.MongoClient(shared, { appName: 'test-support' });

  atEnd(async () => {
    try {
      await untilNoConnections(own, name, closeWithinMs);
    } finally {
      await own.db(name).dropDatabase();
      await own.close();
    }
  });

  const uri = withNames(shared, name);
  return {
    name,
    uri,
    appName: name,
    db: own.db(name),
    failCommand: (options) => failCommand(shared, { ...options, appName: name }),
  };
}

/** With the default names of the collections. */
export const ours = (db: mongo.Db): OurDatabase => ({ db, names: defaultNames });

function withNames(shared: string, name: string): string {
  const uri = new URL(shared);
  uri.pathname = `/${name}`;
  uri.searchParams.set('appName', name);
  return uri.href;
}

/** Waits until no client with this `appName` is connected; a driver's `close()` returns before the server has noticed. */
async function untilNoConnections(
  client: mongo.MongoClient,
  appName: string,
  timeoutMs: number,
): Promise<void> {
  const connected = async (): Promise<string[]> => {
    const operations = client
      .db('admin')
      .aggregate([{ $currentOp: { allUsers: true, idleConnections: true } }, { $match: { appName } }]);
    const found = await operations.toArray();
    return found.map((each) => `${String(each['desc'])} from ${String(each['client'])}`);
  };

  let left: string[] = [];
  try {
    await until(
      async () => {
        left = await connected();
        return left.length === 0;
      },
      { what: 'connections to close', timeoutMs },
    );
  } catch (error) {
    throw new Error(`${left.length} connections of the test were left open: ${left.join(', ')}`, {
      cause: error,
    });
  }
}
