// What every way of using this service stands on, opened in order and closed in reverse: MongoDB, Stripe, the binding of the two, the mirror.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import mongoose from 'mongoose';
import { isFault, reportError } from './base/errors.js';
import { pause } from './base/waiting.js';
import type { Logger } from './base/logger.js';
import { serviceName } from './base/version.js';
import type { Config } from './config/load.js';
import { checkMigrated, migrate } from './migration.js';
import { createBindingStore } from './mirror/binding-state.js';
import { createMirror, type MirrorObserver } from './mirror/mirror.js';
import { createScanState } from './mirror/scan-state.js';
import { createMongoClock } from './mongo/clock.js';
import { databaseOf, openConnection } from './mongo/connection.js';
import { stateOf } from './mongo/sync-state.js';
import { createLimiterState } from './rate/budget.js';
import { limitsFor } from './rate/limits.js';
import { type Exclusively, ScanLease } from './requests/scan-lease.js';
import { customer } from './resources/customer.js';
import { createStripeGateway, type StripeGateway, type StripeReader } from './stripe/gateway.js';
import type { StripeObserver } from './stripe/observer.js';
import { checkBinding } from './sync/binding.js';
import type { Mirror, SharedClock, Source } from './sync/ports.js';
import type { RemovalLimits } from './sync/scan/removals.js';
import type { ScanState } from './sync/scan/state.js';

export interface ServicesOptions {
  readonly config: Config;
  /** Opened here, unless it is open already; closed here only if opened here. */
  readonly connection: mongoose.Connection;
  /** Reads the Stripe key again where it comes from a file, so that it can be rotated. */
  readonly readKey: (() => string) | undefined;
  readonly logger: Logger;
  /** Told of calls and writes; nobody by default. */
  readonly observer?: MirrorObserver & StripeObserver;
  /** Goes on trying while Stripe does not answer; otherwise the first retryable fault is thrown. */
  readonly isPatient?: boolean;
  /** Told what is waited for from now on. */
  readonly onWait?: (waitsFor: 'MongoDB' | 'Stripe') => void;
  readonly signal: AbortSignal;
}

/** What can be done with a Stripe account's customers, and what it is done with. */
export interface Services {
  readonly connection: mongoose.Connection;
  readonly db: mongoose.mongo.Db;
  /** Name of this process in leases; different for each. */
  readonly owner: string;
  readonly logger: Logger;
  readonly gateway: StripeGateway;
  readonly source: Source;
  readonly mirror: Mirror;
  readonly scanState: ScanState;
  readonly clock: SharedClock;
  readonly removals: RemovalLimits;
  /** Calls to Stripe that are worth having under way at once. */
  readonly concurrency: number;
  /** How long a scan that is stopped may go on writing what it has listed, in milliseconds. */
  readonly settleWithinMs: number;
  /** Runs a task under the scan lease, for those who scan without a request. */
  readonly exclusively: Exclusively;
  readonly close: () => Promise<void>;
}

const ignore = (): void => undefined;
const silentObserver: MirrorObserver & StripeObserver = {
  callFinished: ignore,
  rateLimited: ignore,
  slotWaited: ignore,
  writeFinished: ignore,
};

/** Of the time to stop: the checkpoint and the release of the request come after it. */
const settlingShare = 0.2;
/** The buffer holds no more than MongoDB usually takes in a fraction of a second. */
const longestSettlingMs = 3_000;

/** Each try has retried for `stripe.callDeadlineMs` already. */
const startRetryMs = 5_000;

/**
 * Opens everything, creates collections and indexes (or checks that they are there), and makes sure that the Stripe key belongs to the database. What was opened before a
 * fault is closed again.
 * @throws a fatal Fault that says what to do: `mongodb_unavailable`, `mongodb_rejected`, `stripe_key_refused`, `account_mismatch`,
 *   `wrong_mode`; the signal's reason on abort
 */
export async function openServices(options: ServicesOptions): Promise<Services> {
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (let closer = closers.pop(); closer; closer = closers.pop()) await closer();
  };
  try {
    options.onWait?.('MongoDB');
    const db = await openDatabase(options, closers);
    const services = assemble(options, db);
    closers.push(() => services.gateway.close());
    options.onWait?.('Stripe');
    await bindAtStart(options, services);
    return { ...services, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openDatabase(
  { config, connection, logger, signal }: ServicesOptions,
  closers: (() => Promise<void>)[],
): Promise<mongoose.mongo.Db> {
  // An application may have opened it for itself; then it is the application's to close.
  if (connection.readyState !== mongoose.ConnectionStates.connected) {
    await openConnection(connection, { ...config.mongodb, appName: serviceName, logger, signal });
    closers.push(() => connection.close(true));
  }
  if (config.mongodb.autoMigrate) await prepare(connection, config, logger);
  else await checkMigrated(connection);
  return databaseOf(connection);
}

async function prepare(connection: mongoose.Connection, config: Config, logger: Logger): Promise<void> {
  for (const { what, outcome, note } of await migrate(connection, config.requests)) {
    if (outcome === 'left alone' || outcome === 'refused')
      logger.warn({ what, note }, 'Left as it is in MongoDB');
    else if (outcome !== 'unchanged') logger.info({ what, outcome }, 'Set up in MongoDB');
  }
}

function assemble(options: ServicesOptions, db: mongoose.mongo.Db): Omit<Services, 'close'> {
  const { config, connection, readKey, logger, observer = silentObserver } = options;
  const clock = createMongoClock(db);
  const state = stateOf(db);
  const gateway = createStripeGateway({
    config: config.stripe,
    readKey,
    verifyKey: (candidate, signal) => bind(options, services, candidate, signal),
    slots: createLimiterState(state),
    clock,
    observer,
    logger,
  });
  const { livemode } = gateway;
  const { apiVersion } = config.stripe;
  const owner = `${hostname()}:${process.pid}:${randomUUID().slice(0, 8)}`;
  const { leaseMs } = config.requests;
  const services = {
    connection,
    db,
    owner,
    logger,
    gateway,
    source: gateway.source(customer),
    mirror: createMirror({ db, collection: customer.collection, stamp: { apiVersion, livemode }, observer }),
    scanState: createScanState(state, customer.object),
    clock,
    removals: config.removals,
    concurrency: limitsFor(config.stripe, livemode).maxInFlight,
    settleWithinMs: Math.min(longestSettlingMs, config.shutdown.timeoutMs * settlingShare),
    exclusively: new ScanLease(connection, owner, leaseMs).exclusively,
  };
  return services;
}

async function bindAtStart(options: ServicesOptions, services: Omit<Services, 'close'>): Promise<void> {
  const { logger, signal, isPatient = false } = options;
  for (let attempt = 1; ; attempt += 1) {
    try {
      await bind(options, services, services.gateway, signal);
      return;
    } catch (error) {
      if (!isPatient || signal.aborted || !isFault(error) || error.kind !== 'retryable') throw error;
      logger.warn({ attempt, error: reportError(error) }, 'Stripe cannot be reached at start, trying again');
      await pause(error.retryAfterMs ?? startRetryMs, signal);
      signal.throwIfAborted();
    }
  }
}

/** Refuses a key of another account or mode than the database's. */
async function bind(
  { config }: ServicesOptions,
  { db, mirror }: Pick<Services, 'db' | 'mirror'>,
  reader: StripeReader,
  signal: AbortSignal,
): Promise<void> {
  await checkBinding({
    source: reader.source(customer),
    account: (how) => reader.account(how),
    store: createBindingStore(stateOf(db)),
    mirror,
    expectedAccountId: config.stripe.accountId,
    signal,
  });
}
