// The services that the daemon, the library and in-process commands share: MongoDB, Stripe, the binding of
// the two, and the mirror. They open in this order and close in reverse.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import mongoose from 'mongoose';
import { Fault, isFault, reportError } from './base/errors.js';
import type { Logger } from './base/logger.js';
import { serviceName } from './base/version.js';
import { pause } from './base/waiting.js';
import type { Config } from './config/load.js';
import { checkMigrated, migrate } from './migration.js';
import { createBindingStore } from './mirror/binding-state.js';
import { createMirror, type MirrorObserver } from './mirror/mirror.js';
import { createScanState } from './mirror/scan-state.js';
import { createMongoClock } from './mongo/clock.js';
import { openConnection } from './mongo/connection.js';
import { databaseOf, type OurDatabase, stateOf } from './mongo/sync-state.js';
import { createBudget } from './rate/budget.js';
import { type Limits, limitsFor } from './rate/limits.js';
import { type Exclusively, ScanLease } from './requests/scan-lease.js';
import { mainResource, resources } from './resources/registry.js';
import type { Resource } from './resources/resource.js';
import { createStripeGateway, type StripeGateway, type StripeReader } from './stripe/gateway.js';
import type { StripeObserver } from './stripe/observer.js';
import { type BindingCheck, BindingGuard, checkBinding } from './sync/binding.js';
import type { Mirror, SharedClock, Source } from './sync/ports.js';
import type { RemovalLimits } from './sync/scan/removals.js';
import type { ScanObserver } from './sync/scan/scan.js';
import type { ScanState } from './sync/scan/state.js';

export interface ServicesOptions {
  readonly config: Config;
  /** Opened here unless it is already open. Closed here only if it was opened here. */
  readonly connection: mongoose.Connection;
  /** Rereads the Stripe key if it comes from a file, so that it can be rotated. */
  readonly readKey: (() => string) | undefined;
  readonly logger: Logger;
  /** Receives the events of calls and writes; none by default. */
  readonly observer?: ServicesObserver;
  /** Tries again while Stripe cannot be reached. Otherwise the first transient fault is thrown. */
  readonly isPatient?: boolean;
  /** Called with the thing that start-up now waits for. */
  readonly onWait?: (waitsFor: 'MongoDB' | 'Stripe') => void;
  readonly signal: AbortSignal;
}

type ServicesObserver = MirrorObserver & StripeObserver & ScanObserver;

export interface Services extends Opened {
  readonly close: () => Promise<void>;
}

/** One kind of Stripe object: its source, its mirror, and the state of its scans. */
export interface ObjectServices {
  readonly source: Source;
  readonly mirror: Mirror;
  readonly scanState: ScanState;
}

interface Opened {
  readonly database: OurDatabase;
  /** Unique name of this process, in leases. */
  readonly owner: string;
  readonly logger: Logger;
  readonly observer: ScanObserver;
  readonly gateway: StripeGateway;
  /** What belongs to one kind of object. @throws Error for a kind that is not in the registry */
  readonly of: (object: string) => ObjectServices;
  readonly clock: SharedClock;
  readonly removals: RemovalLimits;
  /** Scans list the objects of test clocks, too. */
  readonly testClocks: boolean;
  /** The budget of calls to Stripe over all replicas. */
  readonly rates: Omit<Limits, 'maxInFlight'>;
  /** Useful number of concurrent calls to Stripe. */
  readonly concurrency: number;
  /** How long a stopped scan may still write the pages that it has listed, in milliseconds. */
  readonly settleWithinMs: number;
  /** Runs a task under the scan lease, for those who scan without a request. */
  readonly exclusively: Exclusively;
}

const ignore = (): void => undefined;
const silentObserver: ServicesObserver = {
  callFinished: ignore,
  clockMoved: ignore,
  rateLimited: ignore,
  slotWaited: ignore,
  writeFinished: ignore,
  timesAhead: ignore,
  writesRefused: ignore,
  writesAccepted: ignore,
  rowsDisordered: ignore,
};

/** Share of the shutdown time; the checkpoint and the release of the request need the rest. */
const settlingShare = 0.2;
/** MongoDB usually writes a full buffer in a fraction of a second. */
const maxSettlingMs = 3_000;

/** Each try has already retried for `stripe.callDeadlineMs`. */
const startRetryMs = 5_000;

/**
 * Opens everything, creates collections and indexes (or checks that they exist), and checks that the Stripe
 * key belongs to the database. After a fault, what was opened is closed again.
 * @throws a fatal Fault that says what to do: `mongodb_unavailable`, `mongodb_rejected`,
 *   `stripe_key_refused`, `stripe_permission_denied`, `account_mismatch`, `account_unproven`, `wrong_mode`;
 *   the signal's reason on abort
 */
export async function openServices(options: ServicesOptions): Promise<Services> {
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (let closer = closers.pop(); closer; closer = closers.pop()) await closer();
  };
  try {
    options.onWait?.('MongoDB');
    if (await openDatabase(options)) closers.push(() => options.connection.close(true));
    const database: OurDatabase = {
      db: databaseOf(options.connection),
      names: options.config.mongodb.collections,
    };
    await prepareDatabase(options, database);

    options.onWait?.('Stripe');
    const opened = openStripeAndMirror(options, database);
    closers.push(() => opened.gateway.close());
    await bindAtStart(options, opened);
    return { ...opened, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** False if an application opened the connection: the application then closes it. */
async function openDatabase({ config, connection, logger, signal }: ServicesOptions): Promise<boolean> {
  if (connection.readyState === mongoose.ConnectionStates.connected) return false;
  await openConnection(connection, { ...config.mongodb, appName: serviceName, logger, signal });
  return true;
}

async function prepareDatabase({ config, logger }: ServicesOptions, database: OurDatabase): Promise<void> {
  if (!config.mongodb.autoMigrate) {
    await checkMigrated(database);
    return;
  }
  for (const { what, outcome, note } of await migrate(database, config.requests)) {
    if (outcome === 'left alone' || outcome === 'refused')
      logger.warn({ what, note }, 'Left unchanged in MongoDB');
    else if (outcome !== 'unchanged') logger.info({ what, outcome }, 'Set up in MongoDB');
  }
}

function openStripeAndMirror(options: ServicesOptions, database: OurDatabase): Opened {
  const { config, readKey, logger, observer = silentObserver } = options;
  const { db, names } = database;
  const clock = createMongoClock(db, {
    clockMoved: (seconds) => {
      logger.warn(
        { seconds },
        "MongoDB's clock moved; reads of Stripe that this leaves without order are repeated",
      );
      observer.clockMoved(seconds);
    },
  });
  const state = stateOf(database);
  const gateway = createStripeGateway({
    config: config.stripe,
    readKey,
    verifyKey: (candidate, signal) => bind(options, { database, of }, candidate, signal),
    confirmBinding: () => guard.confirm(),
    budget: createBudget(state),
    clock,
    observer,
    logger,
  });
  const { livemode } = gateway;
  const { apiVersion } = config.stripe;
  const servicesOf = (resource: Resource): ObjectServices => ({
    source: gateway.source(resource),
    mirror: confirmed(
      createMirror({
        db,
        collection: resource.collection(names),
        idPrefix: resource.adoptable?.idPrefix,
        stamp: { object: resource.object, apiVersion, livemode },
        observer,
        logger,
      }),
      () => guard.confirm(),
    ),
    scanState: createScanState(state, resource.object),
  });
  const byObject = new Map<string, ObjectServices>(
    resources.map((resource) => [resource.object, servicesOf(resource)]),
  );
  const of = (object: string): ObjectServices => {
    const found = byObject.get(object);
    if (!found) throw new Fault('internal', `Unknown kind of object: ${object}`);
    return found;
  };
  const guard = new BindingGuard(bindingCheck(options, { database, of }, gateway, options.signal));
  const owner = `${hostname()}:${process.pid}:${randomUUID().slice(0, 8)}`;
  const { leaseMs } = config.requests;
  const { maxInFlight, ...rates } = limitsFor(config.stripe, livemode);
  return {
    database,
    owner,
    logger,
    observer,
    gateway,
    of,
    clock,
    removals: config.removals,
    testClocks: config.sync.testClocks,
    rates,
    concurrency: maxInFlight,
    settleWithinMs: Math.min(maxSettlingMs, config.shutdown.timeoutMs * settlingShare),
    exclusively: new ScanLease(database, owner, leaseMs).exclusively,
  };
}

/** Batches and marks need no answer of Stripe, so their writes are confirmed, too. */
const confirmed = (mirror: Mirror, confirm: () => Promise<void>): Mirror => ({
  ...mirror,
  write: async (writes, beforeSend) => {
    await confirm();
    return mirror.write(writes, beforeSend);
  },
});

async function bindAtStart(options: ServicesOptions, opened: Opened): Promise<void> {
  const { logger, signal, isPatient = false } = options;
  for (let attempt = 1; ; attempt += 1) {
    try {
      await bind(options, opened, opened.gateway, signal);
      return;
    } catch (error) {
      if (!isPatient || signal.aborted || !isFault(error) || error.kind !== 'retryable') throw error;
      logger.warn({ attempt, error: reportError(error) }, 'Stripe is unreachable at start; retrying');
      await pause(error.retryAfterMs ?? startRetryMs, signal);
      signal.throwIfAborted();
    }
  }
}

/** Refuses a key of another account or mode than the database's. */
async function bind(
  options: ServicesOptions,
  opened: Pick<Opened, 'database' | 'of'>,
  reader: StripeReader,
  signal: AbortSignal,
): Promise<void> {
  await checkBinding(bindingCheck(options, opened, reader, signal));
}

const bindingCheck = (
  { config }: ServicesOptions,
  { database, of }: Pick<Opened, 'database' | 'of'>,
  reader: StripeReader,
  signal: AbortSignal,
): BindingCheck => ({
  source: reader.source(mainResource),
  account: (how) => reader.account(how),
  keyHash: (salt) => reader.keyHash(salt),
  store: createBindingStore(stateOf(database)),
  mirror: of(mainResource.object).mirror,
  expectedAccountId: config.stripe.accountId,
  signal,
});
