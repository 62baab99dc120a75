// The face of it all: what can be done with a Stripe account's customers, each method a thin call into src/sync.
import { randomUUID } from 'node:crypto';
import { Fault } from './errors.js';
import mongoose from 'mongoose';
import { type ConfigOptions, loadConfig } from './config.js';
import { createLogger, type Logger } from './logger.js';
import { customer } from './resources/customer.js';
import { openServices, type Services } from './services.js';
import { toMongoFault } from './mongo-faults.js';
import { StripeCustomer } from './store/models.js';
import { syncBatch } from './sync/batch.js';
import { syncByIds } from './sync/by-ids.js';
import { dryRunOf } from './sync/dry-run.js';
import type { ItemResult, Progress, SyncResult } from './sync/outcome.js';
import { isStripeId, type Mirror, type StripeId } from './sync/ports.js';
import { approveRemovals } from './sync/scan/approve-removals.js';
import { scan, type ScanReport } from './sync/scan/scan.js';
import { readOnlyScanState, volatileScanState } from './sync/scan/state.js';
import { softDelete } from './sync/soft-delete.js';

export interface ActionOptions {
  /** Ends the work with the signal's reason. */
  readonly signal?: AbortSignal;
  /** The full result, nothing written to the mirror. */
  readonly dryRun?: boolean;
  /** Where lines about this work go; by default where all lines go. */
  readonly logger?: Logger;
  readonly onProgress?: (progress: Progress) => void;
  /** Called right before each write to the mirror: what it throws ends the work, and the write is not made. */
  readonly beforeWrite?: () => void;
}

export interface BatchOptions extends ActionOptions {
  /** When the caller held this to be true; the time of the call by default, and never later. */
  readonly observedAt?: Date;
}

export interface ScanActionOptions extends ActionOptions {
  /** Name of this scan: one of the same name that was interrupted within the last 24 hours is gone on with. */
  readonly requestId?: string;
  /** What was done so far is safe: a later scan of the same name goes on from there. */
  readonly onCheckpoint?: () => void;
  /** Numbers of the scan besides its result. */
  readonly onEnd?: (report: ScanReport) => void;
}

export interface ConnectOptions {
  /** Over what the environment and CONFIG_FILE say. */
  readonly config?: ConfigOptions;
  /**
   * Where the mirror is. By default mongoose's own connection, on which `StripeCustomer` lives: opened to `mongodb.uri`, or used as
   * it is when the application has opened it already, or has begun to: its database then holds the mirror, and `close` leaves it open.
   */
  readonly connection?: mongoose.Connection;
  /** A pino logger; warnings to stderr by default. */
  readonly logger?: Logger;
  readonly signal?: AbortSignal;
}

/**
 * Brings a MongoDB mirror in line with a Stripe account's customers. Reads from Stripe, writes to the mirror alone. All methods throw
 * Faults (`error.code`, `error.kind`): `retryable` where Stripe or MongoDB could not be reached in time, `terminal` or `fatal` where
 * trying again would not help.
 */
export class StripeCustomerAction {
  /** The mongoose model of the mirror. */
  static readonly modelClass = StripeCustomer;
  /** Stripe's name of what is mirrored. */
  static readonly stripeObjectClass = customer.object;

  readonly #services: Services;

  constructor(services: Services) {
    this.#services = services;
  }

  /**
   * Connects to MongoDB and Stripe and makes sure that the two belong together. Listens on no port.
   * @throws a fatal Fault that says what to do: `invalid_config`, `mongodb_unavailable`, `mongodb_rejected`, `stripe_key_refused`,
   *   `account_mismatch`, `wrong_mode`; the signal's reason on abort
   */
  static async connect(options: ConnectOptions = {}): Promise<StripeCustomerAction> {
    const connection = options.connection ?? mongoose.connection;
    const isOpen = await isOpenAlready(connection);
    const { config, readSecret } = loadConfig({
      requires: isOpen ? ['stripe.apiKey'] : ['stripe.apiKey', 'mongodb.uri'],
      ...(options.config && { options: options.config }),
    });
    const logger = options.logger ?? createLogger({ ...config.log, level: 'warn' }, 'stderr');
    const services = await openServices({
      config,
      connection,
      readKey: readSecret('stripe.apiKey'),
      logger,
      signal: options.signal ?? new AbortController().signal,
    });
    return new StripeCustomerAction(services);
  }

  /** One customer that the caller holds into the mirror; does what `syncBatch([customer])` does. No call to Stripe. */
  async sync(held: object, options: BatchOptions = {}): Promise<ItemResult> {
    return only(await this.syncBatch([held], options));
  }

  /**
   * Pages through every customer of the account and brings the mirror in line, removals included. Waits while another scan runs on
   * this database. On abort what was listed by then is written before it ends, which takes 3 s at the most.
   * @throws besides, a retryable Fault `read_allowance_used` while `stripe.monthlyReadAllowance` is used up
   */
  async syncAll(options: ScanActionOptions = {}): Promise<SyncResult> {
    return this.#exclusively(options, (held) => this.scanNow({ ...options, ...held }));
  }

  /** `syncAll` for those who hold the scan lease already. */
  async scanNow(options: ScanActionOptions & { readonly signal: AbortSignal }): Promise<SyncResult> {
    const { source, scanState, removals, concurrency, settleWithinMs } = this.#services;
    const requestId = options.requestId ?? `direct:${randomUUID()}`;
    const report = await scan({
      source,
      mirror: this.#mirror(options),
      state: options.dryRun === true ? volatileScanState() : scanState,
      removals,
      retrievesAtOnce: concurrency,
      settleWithinMs,
      requestId,
      signal: options.signal,
      ...(options.onProgress && { onProgress: options.onProgress }),
      ...(options.onCheckpoint && { onCheckpoint: options.onCheckpoint }),
    });
    const { removalsHeld } = report.result;
    if (removalsHeld !== undefined && options.dryRun !== true) {
      this.#loggerFor(options).warn(
        { removalsHeld, heldFor: requestId },
        'Too many customers are gone at once: their removals are held until approveRemovals',
      );
    }
    options.onEnd?.(report);
    return report.result;
  }

  /** Retrieves the given customers from Stripe and syncs each. One that Stripe does not know is `failed`, code `not_in_account`. */
  async syncByIds(ids: readonly string[], options: ActionOptions = {}): Promise<SyncResult> {
    const { source, concurrency } = this.#services;
    return syncByIds(source, this.#mirror(options), ids.map(checkedId), {
      signal: signalOf(options),
      concurrency,
      onCostlierThanScan: (cost) =>
        this.#loggerFor(options).info(cost, 'These ids take more calls to Stripe than a full scan would'),
      ...(options.onProgress && { onProgress: options.onProgress }),
    });
  }

  /** Syncs customers that the caller already holds, whole (`object: 'customer'`) or in parts. No call to Stripe. */
  async syncBatch(batch: readonly unknown[], options: BatchOptions = {}): Promise<SyncResult> {
    const signal = signalOf(options);
    const { earliest: now } = await this.#services.clock.interval(signal);
    const observedAt = options.observedAt && options.observedAt < now ? options.observedAt : now;
    const { object, livemode } = this.#services.source;
    return syncBatch(this.#mirror(options), batch, { object, livemode, observedAt, signal });
  }

  /** Marks one customer as deleted in the mirror; nothing is removed, Stripe is not called. Unknown ids: `failed`, code `not_found`. */
  async softDelete(stripeId: string, options: ActionOptions = {}): Promise<ItemResult> {
    const { earliest, latest } = await this.#services.clock.interval(signalOf(options));
    return only(await softDelete(this.#mirror(options), checkedId(stripeId), { from: earliest, to: latest }));
  }

  /**
   * Retrieves the candidates for removal that a scan has held (`removalsHeld`), and marks those of which Stripe says that they are
   * deleted. `heldFor` is the scan's request id, or the name it was given. Waits while a scan runs on this database. One that was interrupted
   * is gone on with, and the result tells of both.
   */
  async approveRemovals(heldFor: string, options: ActionOptions = {}): Promise<SyncResult> {
    return this.#exclusively(options, (held) => this.approveRemovalsNow(heldFor, { ...options, ...held }));
  }

  /** `approveRemovals` for those who hold the scan lease already. */
  async approveRemovalsNow(
    heldFor: string,
    options: Omit<ScanActionOptions, 'requestId' | 'onEnd'> & { readonly signal: AbortSignal },
  ): Promise<SyncResult> {
    const { source, scanState, concurrency } = this.#services;
    return approveRemovals({
      source,
      mirror: this.#mirror(options),
      state: options.dryRun === true ? readOnlyScanState(scanState) : scanState,
      heldFor,
      retrievesAtOnce: concurrency,
      signal: options.signal,
      ...(options.onProgress && { onProgress: options.onProgress }),
      ...(options.onCheckpoint && { onCheckpoint: options.onCheckpoint }),
    });
  }

  /** Ends calls under way and closes what `connect` opened. */
  async close(): Promise<void> {
    await this.#services.close();
  }

  /** Runs a task under the scan lease: it may write while that is held. */
  async #exclusively<T>(
    options: ActionOptions,
    task: (held: { readonly signal: AbortSignal; readonly beforeWrite: () => void }) => Promise<T>,
  ): Promise<T> {
    return this.#services.exclusively(signalOf(options), (signal, assertHeld) => {
      const beforeWrite = (): void => {
        options.beforeWrite?.();
        assertHeld();
      };
      return task({ signal, beforeWrite });
    });
  }

  #loggerFor({ logger }: ActionOptions): Logger {
    return logger ?? this.#services.logger;
  }

  #mirror({ dryRun, beforeWrite }: ActionOptions): Mirror {
    const { mirror } = this.#services;
    if (dryRun === true) return dryRunOf(mirror);
    return beforeWrite ? guardedBy(beforeWrite, mirror) : mirror;
  }
}

/** Applications need not wait for `mongoose.connect()`; a connection that they have begun to open is theirs, too. */
async function isOpenAlready(connection: mongoose.Connection): Promise<boolean> {
  if (connection.readyState === mongoose.ConnectionStates.connecting) {
    await connection.asPromise().catch((error: unknown) => {
      throw toMongoFault(error, "opening the application's connection");
    });
  }
  return connection.readyState === mongoose.ConnectionStates.connected;
}

const guardedBy = (beforeWrite: () => void, mirror: Mirror): Mirror => ({
  ...mirror,
  write: (writes) => mirror.write(writes, beforeWrite),
});

const signalOf = ({ signal }: ActionOptions): AbortSignal => signal ?? new AbortController().signal;

function checkedId(id: unknown): StripeId {
  if (isStripeId(id)) return id;
  throw new Fault('invalid_id', 'An id must be 1 to 255 letters, digits, _ or -, such as cus_123', {
    kind: 'terminal',
  });
}

function only({ items: [item] }: SyncResult): ItemResult {
  if (!item) throw new Fault('internal', 'One customer gave no result', { kind: 'terminal' });
  return item;
}
