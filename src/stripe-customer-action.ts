// The face of it all: what can be done with a Stripe account's customers, each method a thin call into src/sync.
import { Fault } from './errors.js';
import { customer } from './resources/customer.js';
import { StripeCustomer } from './store/models.js';
import { syncBatch } from './sync/batch.js';
import { syncByIds } from './sync/by-ids.js';
import { dryRunOf } from './sync/dry-run.js';
import type { ItemResult, Progress, SyncResult } from './sync/outcome.js';
import { isStripeId, type Mirror, type SharedClock, type Source, type StripeId } from './sync/ports.js';
import type { RemovalLimits } from './sync/scan/removals.js';
import { scan } from './sync/scan/scan.js';
import { type ScanState, volatileScanState } from './sync/scan/state.js';
import { softDelete } from './sync/soft-delete.js';

/** What an action works with; `openServices` makes one. */
export interface ActionParts {
  readonly source: Source;
  readonly mirror: Mirror;
  readonly scanState: ScanState;
  readonly clock: SharedClock;
  readonly removals: RemovalLimits;
  /** Calls to Stripe that are worth having under way at once. */
  readonly concurrency: number;
  /** Runs a scan while no other one runs on this database, on any replica. */
  readonly exclusively: Exclusively;
  readonly close: () => Promise<void>;
}

/** Runs the task under the scan lease; its signal is aborted when the lease is lost. */
export type Exclusively = <T>(signal: AbortSignal, task: (signal: AbortSignal) => Promise<T>) => Promise<T>;

export interface ActionOptions {
  /** Ends the work with the signal's reason. */
  readonly signal?: AbortSignal;
  /** The full result, nothing written to the mirror. */
  readonly dryRun?: boolean;
  readonly onProgress?: (progress: Progress) => void;
}

export interface BatchOptions extends ActionOptions {
  /** When the caller held this to be true; the time of the call by default, and never later. */
  readonly observedAt?: Date;
}

export interface ScanActionOptions extends ActionOptions {
  /** Name under which candidates for removal are held, should there be too many. */
  readonly requestId?: string;
  /** What was done so far is safe: a later scan goes on from there. */
  readonly onCheckpoint?: () => void;
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

  readonly #parts: ActionParts;

  constructor(parts: ActionParts) {
    this.#parts = parts;
  }

  /** One customer that the caller holds into the mirror; does what `syncBatch([customer])` does. No call to Stripe. */
  async sync(held: object, options: BatchOptions = {}): Promise<ItemResult> {
    return only(await this.syncBatch([held], options));
  }

  /**
   * Pages through every customer of the account and brings the mirror in line, removals included. Waits while another scan runs on
   * this database. Goes on from the checkpoint of one that was interrupted.
   */
  async syncAll(options: ScanActionOptions = {}): Promise<SyncResult> {
    return this.#parts.exclusively(signalOf(options), (signal) => this.scanNow({ ...options, signal }));
  }

  /** `syncAll` for those who hold the scan lease already. */
  async scanNow(options: ScanActionOptions & { readonly signal: AbortSignal }): Promise<SyncResult> {
    const { source, scanState, removals, concurrency } = this.#parts;
    const { result } = await scan({
      source,
      mirror: this.#mirror(options),
      state: options.dryRun === true ? volatileScanState() : scanState,
      removals,
      concurrency,
      requestId: options.requestId ?? 'direct',
      signal: options.signal,
      ...(options.onProgress && { onProgress: options.onProgress }),
      ...(options.onCheckpoint && { onCheckpoint: options.onCheckpoint }),
    });
    return result;
  }

  /** Retrieves the given customers from Stripe and syncs each. One that Stripe does not know is `failed`, code `not_in_account`. */
  async syncByIds(ids: readonly string[], options: ActionOptions = {}): Promise<SyncResult> {
    const { source, concurrency } = this.#parts;
    return syncByIds(source, this.#mirror(options), ids.map(checkedId), {
      signal: signalOf(options),
      concurrency,
      ...(options.onProgress && { onProgress: options.onProgress }),
    });
  }

  /** Syncs customers that the caller already holds, whole (`object: 'customer'`) or in parts. No call to Stripe. */
  async syncBatch(batch: readonly unknown[], options: BatchOptions = {}): Promise<SyncResult> {
    const signal = signalOf(options);
    const { earliest: now } = await this.#parts.clock.interval(signal);
    const observedAt = options.observedAt && options.observedAt < now ? options.observedAt : now;
    const { object, livemode } = this.#parts.source;
    return syncBatch(this.#mirror(options), batch, { object, livemode, observedAt, signal });
  }

  /** Marks one customer as deleted in the mirror; nothing is removed, Stripe is not called. Unknown ids: `failed`, code `not_found`. */
  async softDelete(stripeId: string, options: ActionOptions = {}): Promise<ItemResult> {
    const { earliest, latest } = await this.#parts.clock.interval(signalOf(options));
    return only(await softDelete(this.#mirror(options), checkedId(stripeId), { from: earliest, to: latest }));
  }

  /** Ends calls under way and closes what `connect` opened. */
  async close(): Promise<void> {
    await this.#parts.close();
  }

  #mirror({ dryRun }: ActionOptions): Mirror {
    return dryRun === true ? dryRunOf(this.#parts.mirror) : this.#parts.mirror;
  }
}

const signalOf = ({ signal }: ActionOptions): AbortSignal => signal ?? new AbortController().signal;

function checkedId(id: unknown): StripeId {
  if (isStripeId(id)) return id;
  throw new Fault('invalid_id', 'An id must be 1 to 255 letters, digits, _ or -, such as cus_123', { kind: 'terminal' });
}

function only({ items: [item] }: SyncResult): ItemResult {
  if (!item) throw new Fault('internal', 'One customer gave no result', { kind: 'terminal' });
  return item;
}
