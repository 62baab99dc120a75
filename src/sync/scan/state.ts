// What a scan keeps outside the process, so that any replica can go on with it: the port, and the checkpoint with its version.
import { z } from 'zod';
import { Fault, isFault } from '../../base/errors.js';
import { type ItemResult, outcomes, Tally } from '../outcome.js';
import { isStripeId, type StripeId } from '../ports.js';

/** Where scans of one kind of object keep their state. All methods throw Faults as the mirror's do. */
export interface ScanState {
  /** Takes the checkpoint over for a run; from now on `save` of any earlier run is refused. Returns what was stored, unparsed. */
  begin(runId: string): Promise<unknown>;
  /** @throws Fault `lease_lost` when another run has begun */
  save(runId: string, checkpoint: Checkpoint): Promise<void>;
  /** Keeps candidates under the number of the run of pages that missed them. */
  addCandidates(scanId: string, run: number, ids: readonly StripeId[]): Promise<void>;
  /** Drops the candidates of runs that are not settled. */
  dropCandidates(scanId: string, settled: CandidateRuns): Promise<void>;
  /**
   * Some candidates at a time, beginning after a position; nothing is held open in between, however long that takes. None are to be
   * added or dropped meanwhile.
   */
  candidates(scanId: string, after: string | null): AsyncIterable<Candidates>;
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
  /** Takes an approval over for a run, as `begin` does. Returns what was saved of it, unparsed. */
  beginApproval(runId: string, held: HeldRemovals): Promise<unknown>;
  /** @throws Fault `lease_lost` when another run has begun, or a later scan has superseded what was held */
  saveApproval(runId: string, approval: Approval): Promise<void>;
  /** Ends what was held: drops the candidates, and makes the scan that found them the last complete one. */
  endHeld(held: HeldRemovals): Promise<void>;
  /** Of the given ids those that Stripe did not know in this account when asked within the last 30 days. */
  recentlyAbsent(ids: readonly StripeId[]): Promise<ReadonlySet<StripeId>>;
  /** Remembers that Stripe does not know the id in this account. */
  noteAbsent(id: StripeId): Promise<void>;
}

/** Runs of pages that are settled: those with a number below `next` that are not open. */
export interface CandidateRuns {
  readonly next: number;
  readonly open: readonly number[];
}

export interface Candidates {
  /** Between one and a few thousand. */
  readonly ids: readonly StripeId[];
  /** Position after them. */
  readonly upTo: string;
}

export interface HeldRemovals {
  readonly scanId: string;
  readonly requestId: string;
  readonly count: number;
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

/** How far candidates were proven. */
const removalsSchema = z.object({
  /** Position in the candidates before which all are; null at the beginning. */
  after: z.string().nullable(),
  /** Beyond it those that are, too. */
  proven: z.array(stripeId).readonly(),
});

export type RemovalsPosition = z.infer<typeof removalsSchema>;

const resultSchema = z.object({
  ...(Object.fromEntries(outcomes.map((outcome) => [outcome, count])) as Record<
    (typeof outcomes)[number],
    typeof count
  >),
  items: z.array(z.custom<ItemResult>((item) => typeof item === 'object' && item !== null)).readonly(),
});

/** Raised when its meaning changes: a checkpoint of another version is discarded, the scan starts anew. */
const checkpointVersion = 2;

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
  windows: z.array(windowSchema).readonly(),
  /** Runs of pages whose candidates count. */
  candidates: z.object({ next: count, open: z.array(count).readonly() }),
  removals: removalsSchema,
  result: resultSchema,
});

export type Checkpoint = Readonly<z.infer<typeof checkpointSchema>>;

/** How far the approval of held removals has come. */
const approvalSchema = z.object({ removals: removalsSchema, result: resultSchema });

export type Approval = Readonly<z.infer<typeof approvalSchema>>;

const maxAgeMs = 24 * 3_600_000;

/** What a checkpoint must agree with to be gone on with. */
export interface CheckpointOf {
  readonly requestId: string;
  readonly apiVersion: string;
  readonly livemode: boolean;
  readonly nowMs: number;
}

const atTheBeginning = { removals: { after: null, proven: [] }, result: new Tally().result() } as const;

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
  candidates: { next: 0, open: [] },
  ...atTheBeginning,
});

/** A stored approval; one that was never saved, or by another version, is at its beginning. */
export const approvalOf = (stored: unknown): Approval =>
  approvalSchema.safeParse(stored).data ?? atTheBeginning;

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

/** Scan state that is gone with the process: for dry runs, which leave nothing behind. Of one run it keeps the candidates. */
export function volatileScanState(): ScanState {
  let kept: (Candidates & { readonly scanId: string; readonly run: number })[] = [];
  let added = 0;
  return {
    begin: () => Promise.resolve(undefined),
    save: () => Promise.resolve(),
    addCandidates: (scanId, run, ids) => {
      kept.push({ scanId, run, ids, upTo: String((added += 1)) });
      return Promise.resolve();
    },
    dropCandidates: (scanId, { next, open }) => {
      kept = kept.filter((each) => each.scanId !== scanId || (each.run < next && !open.includes(each.run)));
      return Promise.resolve();
    },
    async *candidates(scanId, after) {
      await Promise.resolve();
      yield* kept.filter((each) => each.scanId === scanId && Number(each.upTo) > Number(after ?? 0));
    },
    end: () => Promise.resolve(),
    held: () => Promise.resolve(undefined),
    beginApproval: () => Promise.resolve(undefined),
    saveApproval: () => Promise.resolve(),
    endHeld: () => Promise.resolve(),
    recentlyAbsent: () => Promise.resolve(new Set<StripeId>()),
    noteAbsent: () => Promise.resolve(),
  };
}

/** Reads what a state holds and leaves it as it is: for the dry run of an approval. */
export const readOnlyScanState = (state: ScanState): ScanState => ({
  ...volatileScanState(),
  held: () => state.held(),
  candidates: (scanId, after) => state.candidates(scanId, after),
  recentlyAbsent: (ids) => state.recentlyAbsent(ids),
});

export const supersededRun = (): Fault =>
  new Fault('lease_lost', 'Another run has taken this scan over', { kind: 'retryable' });

/** Another run may be at work by now: nothing may be written any more. */
export const isLeaseLost = (error: unknown): boolean => isFault(error) && error.code === 'lease_lost';
