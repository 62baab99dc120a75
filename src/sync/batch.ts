// syncBatch: writes objects that the caller already has to the mirror, without a call to Stripe.
import { z } from 'zod';
import { Fault } from '../base/errors.js';
import { applyReads, type IsLaterThan, settledResult, toReads } from './apply.js';
import { prepare } from './canonical.js';
import { decidePart } from './decide.js';
import {
  failedItem,
  type ItemResult,
  noId,
  type Outcome,
  type SyncResult,
  TallyById,
  withResult,
} from './outcome.js';
import {
  type Head,
  isStripeId,
  loggedId,
  type Mirror,
  type MirrorWrite,
  type StripeId,
  type StripeObject,
} from './ports.js';
import type { Confirmed, ScanState } from './scan/state.js';
import type { Telling } from './telling.js';
import { newWriteId, resultAt } from './writes.js';

export interface BatchContext {
  /**
   * `customer`. An entry with this `object` is complete and replaces the stored object. Any other entry is
   * partial and is merged at the top level.
   */
  readonly object: string;
  /** An entry of the other mode is refused. */
  readonly livemode: boolean;
  /** When the batch was told, and where it stands among other batches. The entries of one batch follow it. */
  readonly told: Telling;
  /** Whether it is known to be later than what is stored, whatever the times say. */
  readonly isLaterThan?: IsLaterThan;
  /** What scans have confirmed. */
  readonly scans: Pick<ScanState, 'lastComplete' | 'recentlyAbsent'>;
  readonly signal: AbortSignal;
}

/** An entry, and when it was told. */
interface Entry {
  readonly object: StripeObject;
  readonly telling: Telling;
}

/** The fields that are checked; all others are Stripe's and stay as they are. */
const entrySchema = z.looseObject({
  id: z.custom<StripeId>(isStripeId),
  object: z.string().optional(),
  created: z.int().min(0).optional(),
  livemode: z.boolean().optional(),
  deleted: z.boolean().optional(),
});

/**
 * Applies the entries; those of one id keep their order. An invalid entry is `failed` with its code
 * (`invalid_object`, `deletion_unverified` or `wrong_mode`), and the others are still applied. Data that is
 * older than what is stored, or may be, is `stale` with a code that says against what. An object that several
 * entries name counts once.
 * @throws Fault if MongoDB is unreachable, or `unsettled` if other writers came between every time (both
 *   retryable); the signal's reason on abort, at most 500 entries later. The partial result is attached.
 */
export async function syncBatch(
  mirror: Mirror,
  batch: readonly unknown[],
  context: BatchContext,
): Promise<SyncResult> {
  const tally = new TallyById();
  const accepted: Entry[] = [];
  batch.forEach((entry, index) => {
    const refused = refusal(entry, index + 1, context);
    if (refused) tally.add(refused);
    else accepted.push({ object: entry as StripeObject, telling: tellingOf(context.told, index) }); // refusal() has parsed it
  });
  try {
    for (const round of roundsById(accepted)) {
      context.signal.throwIfAborted();
      for (const result of await applyRound(mirror, round, context)) tally.add(result);
    }
    return tally.result();
  } catch (error) {
    throw withResult(error, tally.result());
  }
}

/** Two entries of one id were told one after the other. */
const tellingOf = (told: Telling, index: number): Telling =>
  told.position === undefined
    ? told
    : { ...told, position: `${told.position}.${String(index).padStart(4, '0')}` };

/** @param place 1 for the first: an entry without an id has no other name */
function refusal(entry: unknown, place: number, { object, livemode }: BatchContext): ItemResult | undefined {
  const parsed = entrySchema.safeParse(entry);
  if (!parsed.success) {
    const fields = new Set(parsed.error.issues.map((issue) => issue.path.join('.') || 'entry'));
    const message = `Entry ${place} is not a ${object} of Stripe: ${[...fields].join(', ')}`;
    return failedItem(idOf(entry), { code: 'invalid_object', message });
  }
  const { id, object: kind, deleted, livemode: mode } = parsed.data;
  if (kind !== undefined && kind !== object) {
    return failedItem(id, { code: 'invalid_object', message: `object must be ${object}` });
  }
  if (deleted === true) {
    const message = 'A batch cannot delete: use softDelete, or syncByIds, which asks Stripe';
    return failedItem(id, { code: 'deletion_unverified', message });
  }
  if (mode !== undefined && mode !== livemode) {
    const message = `livemode is ${mode}, but must be ${livemode} as in the mirror`;
    return failedItem(id, { code: 'wrong_mode', message });
  }
  return undefined;
}

function idOf(entry: unknown): string {
  const id = typeof entry === 'object' && entry !== null && 'id' in entry ? entry.id : undefined;
  return isStripeId(id) ? id : noId;
}

/** Most entries that are written at once. */
const maxRoundEntries = 500;

/**
 * Splits entries so that no round is too large or contains an id twice. The entries of an id keep their
 * order.
 */
function roundsById(entries: readonly Entry[]): Entry[][] {
  const rounds: Entry[][] = [];
  let ids = new Set<StripeId>();
  for (const entry of entries) {
    const { id } = entry.object;
    const current = rounds.at(-1);
    if (!current || ids.has(id) || current.length === maxRoundEntries) {
      rounds.push([entry]);
      ids = new Set([id]);
    } else {
      current.push(entry);
      ids.add(id);
    }
  }
  return rounds;
}

async function applyRound(
  mirror: Mirror,
  entries: readonly Entry[],
  context: BatchContext,
): Promise<ItemResult[]> {
  const isWhole = ({ object }: Entry): boolean => object['object'] === context.object;
  const [heads, complete] = await Promise.all([
    headsOf(mirror, entries.filter(isWhole)),
    context.scans.lastComplete(),
  ]);
  const isOld = complete !== undefined && context.told.to <= complete.from;
  const old = isOld ? await seenByScan(mirror, entries, complete, context) : new Set<Entry>();
  const current = entries.filter((entry) => !old.has(entry));
  return [
    ...[...old].map(({ object }) => staleResult(object.id, 'older_than_scan')),
    ...(await putWholes(mirror, current.filter(isWhole), heads, context)),
    ...(await mergeParts(
      mirror,
      current.filter((entry) => !isWhole(entry)),
      context,
    )),
  ];
}

const staleResult = (id: StripeId, code: 'older_than_scan' | 'order_unknown'): ItemResult =>
  settledResult({ id, source: 'batch' }, { kind: 'stale', code });

const headsOf = async (mirror: Mirror, entries: readonly Entry[]): Promise<Map<StripeId, Head>> =>
  entries.length === 0 ? new Map() : mirror.headsOf(entries.map(({ object }) => object.id));

/**
 * The entries of objects that a complete scan has found as they were when it began, or later. Not those that
 * it has not seen: of a test clock, unknown to Stripe, or left out.
 */
async function seenByScan(
  mirror: Mirror,
  entries: readonly Entry[],
  { leftOut, ofTestClocks }: Confirmed,
  { scans }: BatchContext,
): Promise<ReadonlySet<Entry>> {
  const heads = await headsOf(mirror, entries);
  const stored = [...heads.values()].filter(({ created }) => created !== undefined).map(({ id }) => id);
  const listed = new Set(await mirror.suspects(stored, { ofTestClocks }));
  const absent = await scans.recentlyAbsent(entries.map(({ object }) => object.id));
  const unseen = new Set([...leftOut, ...absent]);
  return new Set(
    entries.filter(({ object }) => {
      const isOnClock = !ofTestClocks && (object['test_clock'] ?? null) !== null;
      return !isOnClock && !unseen.has(object.id) && (listed.has(object.id) || !heads.has(object.id));
    }),
  );
}

async function putWholes(
  mirror: Mirror,
  entries: readonly Entry[],
  heads: ReadonlyMap<StripeId, Head>,
  { isLaterThan }: BatchContext,
): Promise<ItemResult[]> {
  const receivedAtMs = performance.now();
  const reads = entries.flatMap(({ object, telling }) =>
    toReads([object], { observed: telling, receivedAtMs, isLaterThan }, 'batch'),
  );
  const { results, unsettled } = await applyReads(mirror, reads, heads);
  const contended = unsettled.find(({ reason }) => reason === 'contended');
  if (contended) throw contendedBatch(contended.id);
  // Stripe must not be called here: data that cannot be ordered is dropped, and the next read corrects it.
  return [...results, ...unsettled.map(({ id }) => staleResult(id, 'order_unknown'))];
}

/** Most stored objects that are held in memory at once. */
const maxPartsAtOnce = 100;
/** Rounds of deciding and merging. Every round in vain means that another writer has succeeded. */
const maxRounds = 20;

async function mergeParts(
  mirror: Mirror,
  parts: readonly Entry[],
  context: BatchContext,
): Promise<ItemResult[]> {
  const results: ItemResult[] = [];
  for (let start = 0; start < parts.length; start += maxPartsAtOnce) {
    let open = parts.slice(start, start + maxPartsAtOnce);
    // Another writer may have written after a write was applied, which then looks like a lost race.
    const tried = new Map<StripeId, Outcome>();
    for (let round = 1; open.length > 0; round += 1) {
      if (round > maxRounds) throw contendedBatch(open[0]?.object.id);
      open = await mergeOnce(mirror, open, context, { results, tried });
    }
  }
  return results;
}

/** Merges each part into what is stored now. Returns those where another writer came between. */
async function mergeOnce(
  mirror: Mirror,
  parts: readonly Entry[],
  { isLaterThan }: BatchContext,
  { results, tried }: { readonly results: ItemResult[]; readonly tried: Map<StripeId, Outcome> },
): Promise<Entry[]> {
  const stored = await mirror.storedOf(parts.map(({ object }) => object.id));
  const planned: { readonly entry: Entry; readonly write: MirrorWrite; readonly done: ItemResult }[] = [];
  for (const entry of parts) {
    const { object } = prepare(entry.object);
    const { id } = object;
    const before = stored.get(id);
    const isLater = before !== undefined && isLaterThan?.(before.head) === true;
    const decision = decidePart(before, object, entry.telling, isLater);
    if (decision.kind !== 'write') {
      results.push(settledResult({ id, source: 'batch' }, decision, tried.get(id)));
      continue;
    }
    const { fields, told, outcome } = decision;
    const keepsHash = outcome === 'unchanged';
    const basis = before?.head;
    const source = 'batch';
    planned.push({
      entry,
      write: { kind: 'merge', id, writeId: newWriteId(), basis, fields, told, keepsHash, source },
      done: { id, outcome },
    });
  }
  if (planned.length === 0) return [];
  const written = await mirror.write(planned.map(({ write }) => write));
  return planned.flatMap(({ entry, done }, index) => {
    const result = resultAt(written, index);
    if (result.kind === 'conflict') {
      tried.set(entry.object.id, done.outcome);
      return [entry];
    }
    results.push(result.kind === 'rejected' ? failedItem(done.id, result) : done);
    return [];
  });
}

const contendedBatch = (id = ''): Fault =>
  new Fault('unsettled', `Other writers changed ${loggedId(id)} each time before the batch could be stored`);
