// The operations on one kind of a Stripe account's objects. Each is a thin call into src/sync over opened
// services. Scans and approvals take no lease: the caller holds it.
import { randomUUID } from 'node:crypto';
import { assertNever, Fault } from './base/errors.js';
import type { Logger } from './base/logger.js';
import type { CommandRunner } from './requests/attempt.js';
import type { ObjectServices, Services } from './services.js';
import { syncBatch } from './sync/batch.js';
import { syncByIds } from './sync/by-ids.js';
import { softDelete } from './sync/deletion.js';
import { dryRunOf, readOnlyScanState, volatileScanState } from './sync/dry-run.js';
import { type ItemResult, type Progress, type SyncResult, Tally } from './sync/outcome.js';
import { type Head, isStripeId, type Mirror, type StripeId, stripeIdText } from './sync/ports.js';
import { approveRemovals } from './sync/scan/approve-removals.js';
import { scan, type ScanReport } from './sync/scan/scan.js';
import { type InsertionOrder, toldOf } from './sync/telling.js';
import { isOwnUntil, processName, writesSoFar } from './sync/writes.js';

export interface ActionOptions {
  /** Ends the work with the signal's reason. */
  readonly signal?: AbortSignal;
  /** The result that the work would have now; nothing is written to the mirror. */
  readonly dryRun?: boolean;
  /** The logger for this work; by default the one that the services have. */
  readonly logger?: Logger;
  readonly onProgress?: (progress: Progress) => void;
  /** Called right before each write to the mirror. If it throws, the work ends and the write is not sent. */
  readonly beforeWrite?: () => void;
}

export interface BatchOptions extends ActionOptions {
  /** When the data was true; by default the time of the call, and never later than that. */
  readonly observedAt?: Date;
}

/** A batch that a request brought. */
interface RequestedBatchOptions extends BatchOptions {
  readonly inserted?: InsertionOrder;
}

export interface ScanActionOptions extends ActionOptions {
  /** Name of this scan. A scan of the same name that was interrupted within the last 24 hours is resumed. */
  readonly requestId?: string;
  /** A checkpoint was saved: a later scan of the same name resumes from there. */
  readonly onCheckpoint?: () => void;
  /** Receives the numbers of the scan besides its result. */
  readonly onEnd?: (report: ScanReport) => void;
}

/** All methods throw Faults, and the signal's reason on abort. */
export class Operations {
  readonly #services: Services & ObjectServices;

  /** @param object kind of Stripe object that the operations are about */
  constructor(services: Services, object: string) {
    this.#services = { ...services, ...services.of(object) };
  }

  /** Syncs one object that the caller holds. */
  async sync(held: object, options: BatchOptions = {}): Promise<ItemResult> {
    return only(await this.syncBatch([held], options));
  }

  /** A full scan, removals included. The caller holds the scan lease. */
  async scan(options: ScanActionOptions & { readonly signal: AbortSignal }): Promise<SyncResult> {
    const { source, scanState, removals, testClocks, concurrency, settleWithinMs } = this.#services;
    const requestId = options.requestId ?? `direct:${randomUUID()}`;
    const report = await scan({
      source,
      mirror: this.#mirror(options),
      state: options.dryRun === true ? volatileScanState(scanState) : scanState,
      removals,
      testClocks,
      retrievesAtOnce: concurrency,
      settleWithinMs,
      requestId,
      signal: options.signal,
      ...(options.onProgress && { onProgress: options.onProgress }),
      ...(options.onCheckpoint && { onCheckpoint: options.onCheckpoint }),
    });
    const { removalsHeld, failed } = report.result;
    if (removalsHeld !== undefined && options.dryRun !== true) {
      this.#loggerFor(options).warn(
        { removalsHeld, heldFor: requestId },
        'Too many objects disappeared at once: their removals are held until approveRemovals',
      );
    }
    if (failed > 0 && options.dryRun !== true) {
      this.#loggerFor(options).warn(
        { failed },
        'The scan could not mirror or check some objects; its result names them (items, outcome failed)',
      );
    }
    if (report.disordered > 0) {
      this.#services.observer.rowsDisordered({ object: source.object, count: report.disordered });
      this.#loggerFor(options).warn(
        { disordered: report.disordered },
        'Stripe listed objects out of order; they are mirrored, and nothing was concluded missing near them',
      );
    }
    options.onEnd?.(report);
    return report.result;
  }

  async syncByIds(ids: readonly string[], options: ActionOptions = {}): Promise<SyncResult> {
    const { source, concurrency } = this.#services;
    return syncByIds(source, this.#mirror(options), ids.map(checkedId), {
      signal: signalOf(options),
      concurrency,
      onCostlierThanScan: (cost) =>
        this.#loggerFor(options).info(cost, 'These ids need more calls to Stripe than a full scan'),
      ...(options.onProgress && { onProgress: options.onProgress }),
    });
  }

  async syncBatch(batch: readonly unknown[], options: RequestedBatchOptions = {}): Promise<SyncResult> {
    const signal = signalOf(options);
    const { clock, scanState: scans } = this.#services;
    const { object, livemode } = this.#services.source;
    const context = { object, livemode, scans, signal };
    const mirror = this.#mirror(options, { isEachWrittenOnce: false });
    if (options.inserted) {
      const told = toldOf(options.inserted, options.observedAt);
      return syncBatch(mirror, batch, { ...context, told });
    }
    // Whatever this process has written so far was known to it before the call.
    const before = writesSoFar();
    const told = toldOf(calledNow(await clock.interval(signal)), options.observedAt);
    const isLaterThan = ({ writeId }: Head): boolean => !told.isDated && isOwnUntil(writeId, before);
    return syncBatch(mirror, batch, { ...context, told, isLaterThan });
  }

  async softDelete(stripeId: string, options: ActionOptions = {}): Promise<ItemResult> {
    signalOf(options).throwIfAborted();
    return only(await softDelete(this.#mirror(options), checkedId(stripeId)));
  }

  /** Applies removals that a scan held for approval. The caller holds the scan lease. */
  async approveRemovals(
    heldFor: string,
    options: Omit<ScanActionOptions, 'requestId' | 'onEnd'> & { readonly signal: AbortSignal },
  ): Promise<SyncResult> {
    const { source, scanState, testClocks, concurrency } = this.#services;
    return approveRemovals({
      source,
      mirror: this.#mirror(options),
      state: options.dryRun === true ? readOnlyScanState(scanState) : scanState,
      heldFor,
      ofTestClocks: testClocks && source.testClocks !== undefined,
      retrievesAtOnce: concurrency,
      signal: options.signal,
      ...(options.onProgress && { onProgress: options.onProgress }),
      ...(options.onCheckpoint && { onCheckpoint: options.onCheckpoint }),
    });
  }

  #loggerFor({ logger }: ActionOptions): Logger {
    return logger ?? this.#services.logger;
  }

  #mirror(
    { dryRun, beforeWrite }: ActionOptions,
    { isEachWrittenOnce } = { isEachWrittenOnce: true },
  ): Mirror {
    const { mirror } = this.#services;
    if (dryRun === true) return dryRunOf(mirror, { remembers: !isEachWrittenOnce });
    return beforeWrite ? guardedBy(beforeWrite, mirror) : mirror;
  }
}

const guardedBy = (beforeWrite: () => void, mirror: Mirror): Mirror => ({
  ...mirror,
  write: (writes) => mirror.write(writes, beforeWrite),
});

let calls = 0;

/**
 * A call tells its batch at a moment that MongoDB's clock gives bounds of. The calls of one process have an
 * order that no clock decides.
 */
function calledNow({ earliest, latest }: { readonly earliest: Date; readonly latest: Date }): InsertionOrder {
  const position = `${processName}:${String((calls += 1)).padStart(16, '0')}`;
  return { kind: 'within', from: earliest, to: latest, position };
}

const signalOf = ({ signal }: ActionOptions): AbortSignal => signal ?? new AbortController().signal;

function checkedId(id: unknown): StripeId {
  if (isStripeId(id)) return id;
  throw new Fault('invalid_id', `Each id must be ${stripeIdText}`);
}

function only({ items: [item] }: SyncResult): ItemResult {
  if (!item) throw new Fault('internal', 'One object gave no result');
  return item;
}

/**
 * Runs the command of a request; each command is one operation. For a scan the worker holds the scan lease.
 */
export const runnerOf = (services: Services): CommandRunner => ({
  async run(command, context) {
    const operations = new Operations(services, command.object);
    const { signal, dryRun, logger } = context;
    const options = {
      signal,
      dryRun,
      logger,
      beforeWrite: () => context.assertHeld(),
      onProgress: (progress: Parameters<typeof context.onProgress>[0]) => context.onProgress(progress),
    };
    // A dry run saves no checkpoint: its next attempt starts from the beginning, so attempts must count.
    const checkpoints = dryRun ? {} : { onCheckpoint: () => context.onCheckpoint() };
    switch (command.command) {
      case 'syncAll':
        return operations.scan({ ...options, ...checkpoints, requestId: String(context.requestId) });
      case 'syncByIds':
        return operations.syncByIds(command.ids, options);
      case 'syncBatch':
        return operations.syncBatch(command.batch, {
          ...options,
          ...(command.observedAt && { observedAt: command.observedAt }),
          inserted: context.insertionOrder,
        });
      case 'softDelete':
        return resultOf(await operations.softDelete(command.stripeId, options));
      case 'approveRemovals':
        return operations.approveRemovals(command.request, { ...options, ...checkpoints });
      default:
        return assertNever(command);
    }
  },
});

function resultOf(item: ItemResult): SyncResult {
  const tally = new Tally();
  tally.add(item);
  return tally.result();
}
