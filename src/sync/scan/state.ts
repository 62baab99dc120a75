// What a scan keeps outside the process, so that any replica can go on with it: the port, and the checkpoint with its version.
import { z } from 'zod';
import { Fault } from '../../errors.js';
import { type ItemResult, outcomes } from '../outcome.js';
import { isStripeId, type StripeId } from '../ports.js';

/** Where scans of one kind of object keep their state. All methods throw Faults as the mirror's do. */
export interface ScanState {
  /** Takes the checkpoint over for a run; from now on `save` of any earlier run is refused. Returns what was stored, unparsed. */
  begin(runId: string): Promise<unknown>;
  /** @throws Fault `lease_lost` when another run has begun */
  save(runId: string, checkpoint: Checkpoint): Promise<void>;
  addCandidates(scanId: string, ids: readonly StripeId[]): Promise<void>;
  /** May name an id more than once. */
  candidates(scanId: string): AsyncIterable<readonly StripeId[]>;
  /**
   * Ends a scan: drops its checkpoint, and its candidates unless they are held for approval. `isComplete` makes it the last
   * complete scan, which outlives restarts and requests.
   * @throws Fault `lease_lost` when another run has begun
   */
  end(
    runId: string,
    end: { scanId: string; isComplete: boolean; heldFor: string | undefined; heldCount?: number },
  ): Promise<void>;
  /** The scan whose candidates are held for approval, and the request it was for; undefined when none are. */
  held(): Promise<HeldRemovals | undefined>;
  /** Ends what was held: drops the candidates, and makes the scan that found them the last complete one. */
  endHeld(held: HeldRemovals): Promise<void>;
  /** Of the given ids those that Stripe did not know in this account when asked within the last 30 days. */
  recentlyAbsent(ids: readonly StripeId[]): Promise<ReadonlySet<StripeId>>;
  /** Remembers that Stripe does not know the id in this account. */
  noteAbsent(id: StripeId): Promise<void>;
}

export interface HeldRemovals {
  readonly scanId: string;
  readonly requestId: string;
}

const stripeId = z.custom<StripeId>(isStripeId);
const count = z.int().min(0);

const windowSchema = z.object({
  gte: count,
  lt: count.nullable(),
  settledFrom: count.nullable(),
  cursor: stripeId.nullable(),
  openIds: z.array(stripeId),
  done: z.boolean(),
});

/** Raised when its meaning changes: a checkpoint of another version is discarded, the scan starts anew. */
const checkpointVersion = 1;

const checkpointSchema = z.object({
  version: z.literal(checkpointVersion),
  scanId: z.string(),
  /** Name of the scan: another one begins anew. */
  requestId: z.string(),
  /** Local time of the daemon that started it, milliseconds; only for its age. */
  startedAtMs: z.number(),
  apiVersion: z.string(),
  livemode: z.boolean(),
  phase: z.enum(['list', 'catch_up', 'removals']),
  /** Stripe's clock at the start, unix seconds; undefined before the first answer. */
  t0: count.optional(),
  pages: count,
  windows: z.array(windowSchema),
  result: z.object({
    ...(Object.fromEntries(outcomes.map((outcome) => [outcome, count])) as Record<
      (typeof outcomes)[number],
      typeof count
    >),
    items: z.array(z.custom<ItemResult>((item) => typeof item === 'object' && item !== null)).readonly(),
  }),
});

export type Checkpoint = z.infer<typeof checkpointSchema>;

const maxAgeMs = 24 * 3_600_000;

/** What a checkpoint must agree with to be gone on with. */
export interface CheckpointOf {
  readonly requestId: string;
  readonly apiVersion: string;
  readonly livemode: boolean;
  readonly nowMs: number;
}

export const newCheckpoint = (
  scanId: string,
  { requestId, apiVersion, livemode, nowMs }: CheckpointOf,
): Checkpoint => ({
  version: checkpointVersion,
  scanId,
  requestId,
  startedAtMs: nowMs,
  apiVersion,
  livemode,
  phase: 'list',
  pages: 0,
  windows: [],
  result: { created: 0, updated: 0, unchanged: 0, deleted: 0, stale: 0, failed: 0, items: [] },
});

/** A stored checkpoint that can be gone on with: of this scan, version and account mode, younger than 24 hours. */
export function usableCheckpoint(
  stored: unknown,
  { requestId, apiVersion, livemode, nowMs }: CheckpointOf,
): Checkpoint | undefined {
  const parsed = checkpointSchema.safeParse(stored);
  if (!parsed.success) return undefined;
  const checkpoint = parsed.data;
  const isSame =
    checkpoint.requestId === requestId &&
    checkpoint.apiVersion === apiVersion &&
    checkpoint.livemode === livemode;
  const ageMs = nowMs - checkpoint.startedAtMs;
  return isSame && ageMs >= -maxAgeMs && ageMs < maxAgeMs && checkpoint.windows.length > 0
    ? checkpoint
    : undefined;
}

/** Scan state that is gone with the process: for dry runs, which leave nothing behind. */
export function volatileScanState(): ScanState {
  const candidates = new Map<string, StripeId[]>();
  return {
    begin: () => Promise.resolve(undefined),
    save: () => Promise.resolve(),
    addCandidates: (scanId, ids) => {
      candidates.set(scanId, [...(candidates.get(scanId) ?? []), ...ids]);
      return Promise.resolve();
    },
    async *candidates(scanId) {
      await Promise.resolve();
      yield candidates.get(scanId) ?? [];
    },
    end: () => Promise.resolve(),
    held: () => Promise.resolve(undefined),
    endHeld: () => Promise.resolve(),
    recentlyAbsent: () => Promise.resolve(new Set<StripeId>()),
    noteAbsent: () => Promise.resolve(),
  };
}

export const supersededRun = (): Fault =>
  new Fault('lease_lost', 'Another run has taken this scan over', { kind: 'retryable' });
