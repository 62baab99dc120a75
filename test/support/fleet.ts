// Several replicas of the real daemon on one database, the simulator they read from, and whether the mirror is what Stripe says.
import { fileURLToPath, pathToFileURL } from 'node:url';
import { mongo } from 'mongoose';
import { type SimulatorOptions, startSimulator, type StripeSimulator } from 'stripe-simulator';
import { mendClosingSockets } from '../../src/mongo/closing-sockets.js';
import { atEnd } from './cleanup.js';
import { type Daemon, type Settings, startDaemon, UserOfQueue } from './daemon.js';
import { freshDatabase } from './database.js';

export interface FleetDatabase {
  uri: string;
  db: mongo.Db;
}

export interface FleetOptions {
  simulated?: SimulatorOptions;
  /** Of every replica, over those of `startDaemon`. */
  settings?: Settings;
  /** A fresh one by default. */
  database?: FleetDatabase;
}

export interface Fleet {
  uri: string;
  db: mongo.Db;
  simulator: StripeSimulator;
  user: UserOfQueue;
  /** Starts one more replica; resolves when it is ready. @param entry absolute path of another build's main.js */
  start: (settings?: Settings, entry?: string) => Promise<Daemon>;
  /** Begins to start one more replica; returns at once. */
  launch: (settings?: Settings, entry?: string) => Daemon;
  /** What is different between the mirror and a complete listing at Stripe, in words. */
  differences: () => Promise<string[]>;
}

/** Leases and polls of a fleet, in milliseconds: short, yet longer than a busy machine pauses. */
export const leaseMs = 2_000;
export const pollMs = 400;

const quick: Settings = {
  REQUESTS_LEASE_MS: String(leaseMs),
  REQUESTS_POLL_INTERVAL_MS: String(pollMs),
  STRIPE_MAX_IN_FLIGHT: '8',
};

export async function openFleet(options: FleetOptions = {}): Promise<Fleet> {
  const { simulated = {}, settings = {}, database = freshDatabase() } = options;
  const simulator = await startSimulator(simulated);
  atEnd(() => simulator.close());
  const launch = (own: Settings = {}, entry?: string): Daemon =>
    startDaemon(database, simulator, { ...quick, ...settings, ...own }, entry);
  return {
    uri: database.uri,
    db: database.db,
    simulator,
    user: new UserOfQueue(database.db),
    launch,
    start: async (own, entry) => {
      const daemon = launch(own, entry);
      await daemon.ready();
      return daemon;
    },
    differences: () => differencesOf(database.db, simulator),
  };
}

/** The database that the connection string names, on a server of the test's own. Begin only what may wait for a minute. */
export function databaseAt(uri: string): FleetDatabase {
  mendClosingSockets();
  const client = new mongo.MongoClient(uri, { appName: 'test-support', serverSelectionTimeoutMS: 60_000 });
  atEnd(() => client.close());
  return { uri, db: client.db() };
}

async function differencesOf(db: mongo.Db, simulator: StripeSimulator): Promise<string[]> {
  const found = await db.collection<{ _id: string }>('stripe_customers_live').find().toArray();
  const stored = new Map<string, mongo.Document>(found.map((document) => [document._id, document]));
  const listed = new Map(simulator.list().map((customer) => [customer.id, customer]));
  const wrong = [...listed.values()].flatMap((customer) => {
    const { _id, _sync, app, ...fields } = stored.get(customer.id) ?? {};
    if (_id === undefined) return [`${customer.id} is missing`];
    return JSON.stringify(fields) === JSON.stringify(customer) ? [] : [`${customer.id} differs`];
  });
  const extra = [...stored.keys()].filter((id) => !listed.has(id)).map((id) => `${id} is not at Stripe`);
  return [...wrong, ...extra];
}

const preload = (name: string): string =>
  `--import ${pathToFileURL(fileURLToPath(new URL(`fixtures/${name}.mjs`, import.meta.url))).href}`;

/** Settings of a replica that is killed at a step of its life; see fixtures/crash.mjs. */
export const crashingAt = (when: 'before' | 'after', step: string, passes = 0): Settings => ({
  NODE_OPTIONS: preload('crash'),
  CRASH_AT: `${when} ${step} ${passes}`,
});

/** Settings of a replica that is killed at any moment of its life, as `DIE_AT` says; see fixtures/die.mjs. */
export const dyingAt = (moment: string): Settings => ({ NODE_OPTIONS: preload('die'), DIE_AT: moment });

/** Settings of a replica whose clock is wrong by so many milliseconds. */
export const withClockOff = (ms: number): Settings => ({
  NODE_OPTIONS: preload('clock'),
  CLOCK_OFFSET_MS: String(ms),
});
