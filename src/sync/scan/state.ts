// The state that a scan keeps outside the process, so that any replica can resume it: the port, and the
// checkpoint with its version.
import { z } from 'zod';
import { Fault, isFault } from '../../base/errors.js';
import { type ItemResult, outcomes, Tally } from '../outcome.js';
import { isStripeId, type StripeId } from '../ports.js';

/**
 * Where scans of one kind of object keep their state. Errors are Faults, as for the mirror. If a method
 * documents `lease_lost` and throws it, nothing has changed. Every method can be repeated after an error.
 * test/conformance specifies the behaviour of an implementation.
 */
export interface ScanState {
  /**
   * Takes over the checkpoint for a run. Atomic: if several runs begin, the last one owns it, and `save` and
   * `end` of all others are refused. Returns the stored checkpoint, unparsed; undefined if there is none.
   */
  begin(runId: string): Promise<unknown>;
  /** Replaces the checkpoint. @throws Fault `lease_lost` unless this run was the last to begin */
  save(runId: string, checkpoint: Checkpoint): Promise<void>;
  /**
   * Stores 1 to 1,000 candidates under the number of the run of pages that did not find them. Repeated ids
   * are stored again.
   */
  addCandidates(scanId: string, run: number, ids: readonly StripeId[]): Promise<void>;
  /** Drops the candidates of those runs of this scan that are not settled. */
  dropCandidates(scanId: string, settled: CandidateRuns): Promise<void>;
  /**
   * The candidates in chunks, in a fixed order, after a position (null: from the first). Nothing stays open
   * between two chunks, however long that takes. Candidates must not be added or dropped in between.
   */
  candidates(scanId: string, after: string | null): AsyncIterable<Candidates>;
  /**
   * Ends a scan. First drops its checkpoint, then the held candidates of an earlier scan and the candidates
   * of all scans. With `heldFor`, the candidates of this scan stay, held for approval under that request.
   * With `isComplete` it becomes the last complete scan, which survives restarts and requests. `leftOut` is
   * the number of objects that it could not mirror or check; kept until the next scan ends.
   * @throws Fault `lease_lost` unless this run was the last to begin
   */
  end(runId: string, end: ScanEnd): Promise<void>;
  /** What the last complete scan has confirmed; undefined if there was none, or if it is not known. */
  lastComplete(): Promise<Confirmed | undefined>;
  /** The scan whose candidates are held for approval; undefined if there is none. */
  held(): Promise<HeldRemovals | undefined>;
  /**
   * Takes over an approval for a run, like `begin`. Returns its saved progress, unparsed.
   * @throws Fault `lease_lost` when a later scan has superseded the held candidates
   */
  beginApproval(runId: string, held: HeldRemovals): Promise<unknown>;
  /**
   * @throws Fault `lease_lost` unless this run was the last to begin, or when a later scan has superseded
   *   what was held
   */
  saveApproval(runId: string, approval: Approval): Promise<void>;
  /**
   * Ends an approval: drops its candidates and makes its scan the last complete one, as of the end of that
   * scan. Does nothing if a later scan has superseded it.
   */
  endHeld(held: HeldRemovals): Promise<void>;
  /** The given ids that were recorded as absent within the last 30 days. */
  recentlyAbsent(ids: readonly StripeId[]): Promise<ReadonlySet<StripeId>>;
  /** Remembers that Stripe does not know the id in this account. */
  noteAbsent(id: StripeId): Promise<void>;
}

interface ScanEnd {
  readonly scanId: string;
  readonly isComplete: boolean;
  readonly heldFor: string | undefined;
  readonly heldCount?: number;
  readonly elsewhere?: readonly StripeId[];
  readonly leftOut?: number;
  /** Undefined if it is not known. */
  readonly confirmed: Confirmed | undefined;
}

/** What a scan has confirmed: every object as it was at `from` or later, but for those that it left out. */
export interface Confirmed {
  /** MongoDB's clock when the scan asked for its first page, or earlier. */
  readonly from: Date;
  readonly leftOut: readonly string[];
  /** Whether it has seen the objects of test clocks, too. */
  readonly ofTestClocks: boolean;
}

/** Runs of pages that are settled: those with a number below `next` that are not in `open`. */
export interface CandidateRuns {
  readonly next: number;
  readonly open: readonly number[];
}

export interface Candidates {
  /** At least one, fewer than 2,000. */
  readonly ids: readonly StripeId[];
  /** The position after them. */
  readonly upTo: string;
}

/** Candidates of a scan that wait for approval. */
export interface HeldRemovals {
  readonly scanId: string;
  readonly requestId: string;
  readonly count: number;
  /** Candidates that the scan has listed all the same, so they are not suspected. */
  readonly elsewhere: readonly StripeId[];
  /** Progress of an interrupted approval, unparsed; undefined if there is none. */
  readonly approval?: unknown;
}

const stripeId = z.custom<StripeId>(isStripeId);
const count = z.int().min(0);

/**
 * A window in a checkpoint. Bounds in unix seconds, `[gte, lt)`; an `lt` of null is open towards the future.
 */
const windowSchema = z.object({
  gte: count,
  lt: count.nullable(),
  /** Every object created at or after this second is settled; null before the first. */
  settledFrom: count.nullable(),
  /** Last settled object: listing continues after it. */
  cursor: stripeId.nullable(),
  /** Ids seen of the cursor's second: more of that second may follow on the next page. */
  openIds: z.array(stripeId),
  done: z.boolean(),
  /** False after a row out of order; absent otherwise. */
  isOrdered: z.boolean().optional(),
});

export type WindowState = z.infer<typeof windowSchema>;

/** How far candidates are proven. */
const removalsSchema = z.object({
  /** All candidates up to this position are proven; null at the beginning. */
  after: z.string().nullable(),
  /** Proven candidates after that position. */
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

/**
 * Raised when its meaning changes: a checkpoint of another version is discarded, and the scan starts anew.
 */
const checkpointVersion = 3;

const checkpointSchema = z.object({
  version: z.literal(checkpointVersion),
  scanId: z.string(),
  /** Name of the scan: a scan of another name starts anew. */
  requestId: z.string(),
  /** Local time of the daemon that started it, milliseconds; only used for its age. */
  startedAtMs: z.number(),
  apiVersion: z.string(),
  livemode: z.boolean(),
  testClocks: z.boolean(),
  phase: z.enum(['list', 'clocks', 'catch_up', 'removals']),
  /** Stripe's clock at the start, unix seconds; undefined before the first answer. */
  t0: count.optional(),
  /** MongoDB's clock when the first page was asked for, milliseconds; undefined before the first answer. */
  from: z.number().optional(),
  pages: count,
  /** The last test clock whose objects are settled; null before the first. */
  clocksAfter: z.string().nullable(),
  windows: z.array(windowSchema).readonly(),
  /** Settled runs of pages, whose candidates count. */
  candidates: z.object({ next: count, open: z.array(count).readonly() }),
  removals: removalsSchema,
  /** Without what the catch-up has counted so far. */
  result: resultSchema,
  /** What interrupted catch-ups have written. */
  caughtUp: z.object({
    created: z.array(stripeId).readonly(),
    updated: z.array(stripeId).readonly(),
  }),
  /** Listed and counted, but stored with another `created` or none: missed there, they are not suspected. */
  elsewhere: z.array(stripeId).readonly(),
});

export type Checkpoint = Readonly<z.infer<typeof checkpointSchema>>;

/** How far the approval of held removals has come. */
const approvalSchema = z.object({ removals: removalsSchema, result: resultSchema });

export type Approval = Readonly<z.infer<typeof approvalSchema>>;

const maxAgeMs = 24 * 3_600_000;

/** What a checkpoint must match to be resumed. */
export interface CheckpointOf {
  readonly requestId: string;
  readonly apiVersion: string;
  readonly livemode: boolean;
  /** Whether it lists test clocks, too. */
  readonly testClocks?: boolean;
  readonly nowMs: number;
}

const atTheBeginning = { removals: { after: null, proven: [] }, result: new Tally().result() } as const;

export const newCheckpoint = (
  scanId: string,
  { requestId, apiVersion, livemode, testClocks = false, nowMs }: CheckpointOf,
): Checkpoint => ({
  version: checkpointVersion,
  scanId,
  requestId,
  startedAtMs: nowMs,
  apiVersion,
  livemode,
  testClocks,
  phase: 'list',
  pages: 0,
  clocksAfter: null,
  windows: [],
  candidates: { next: 0, open: [] },
  caughtUp: { created: [], updated: [] },
  elsewhere: [],
  ...atTheBeginning,
});

/** A stored approval; starts at the beginning if there is none, or if another version saved it. */
export const approvalOf = (stored: unknown): Approval =>
  approvalSchema.safeParse(stored).data ?? atTheBeginning;

/**
 * A stored checkpoint that can be resumed: it has this scan, API version and mode, and is younger than 24
 * hours.
 */
export function usableCheckpoint(
  stored: unknown,
  { requestId, apiVersion, livemode, testClocks = false, nowMs }: CheckpointOf,
): Checkpoint | undefined {
  const parsed = checkpointSchema.safeParse(stored);
  if (!parsed.success) return undefined;
  const checkpoint = parsed.data;
  const isSame =
    checkpoint.requestId === requestId &&
    checkpoint.apiVersion === apiVersion &&
    checkpoint.livemode === livemode &&
    checkpoint.testClocks === testClocks;
  const ageMs = nowMs - checkpoint.startedAtMs;
  return isSame && ageMs >= -maxAgeMs && ageMs < maxAgeMs && checkpoint.windows.length > 0
    ? checkpoint
    : undefined;
}

export const supersededRun = (): Fault => new Fault('lease_lost', 'Another run has taken over this scan');

/** Another run may be active: nothing may be written any more. */
export const isLeaseLost = (error: unknown): boolean => isFault(error) && error.code === 'lease_lost';
