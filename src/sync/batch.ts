// syncBatch: writes objects that the caller already has to the mirror, without a call to Stripe.
import { z } from 'zod';
import { applyReads, settledResult, toReads } from './apply.js';
import { prepare } from './canonical.js';
import { decide } from './decide.js';
import { failedItem, type ItemResult, noId, type SyncResult, Tally, withResult } from './outcome.js';
import {
  type Head,
  isStripeId,
  type Mirror,
  type MirrorWrite,
  type Observed,
  type StripeId,
  type StripeObject,
} from './ports.js';

export interface BatchContext {
  /**
   * `customer`. An entry with this `object` is complete and replaces the stored object. Any other entry is
   * partial and is merged at the top level.
   */
  readonly object: string;
  /** An entry of the other mode is refused. */
  readonly livemode: boolean;
  /** When the data was true according to the caller, on MongoDB's clock; never in the future. */
  readonly observedAt: Date;
  readonly signal: AbortSignal;
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
 * (`invalid_object`, `deletion_unverified` or `wrong_mode`), and the others are still applied.
 * @throws Fault if MongoDB is unreachable; the signal's reason on abort, at most 500 entries later. The
 *   partial result is attached.
 */
export async function syncBatch(
  mirror: Mirror,
  batch: readonly unknown[],
  context: BatchContext,
): Promise<SyncResult> {
  const tally = new Tally();
  const accepted: StripeObject[] = [];
  for (const [index, entry] of batch.entries()) {
    const refused = refusal(entry, index + 1, context);
    if (refused) tally.add(refused);
    else accepted.push(entry as StripeObject); // refusal() has parsed it
  }
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
function roundsById(entries: readonly StripeObject[]): StripeObject[][] {
  const rounds: StripeObject[][] = [];
  let ids = new Set<StripeId>();
  for (const entry of entries) {
    const current = rounds.at(-1);
    if (!current || ids.has(entry.id) || current.length === maxRoundEntries) {
      rounds.push([entry]);
      ids = new Set([entry.id]);
    } else {
      current.push(entry);
      ids.add(entry.id);
    }
  }
  return rounds;
}

async function applyRound(
  mirror: Mirror,
  entries: readonly StripeObject[],
  context: BatchContext,
): Promise<ItemResult[]> {
  const heads = await mirror.headsOf(entries.map(({ id }) => id));
  const observed: Observed = { from: context.observedAt, to: context.observedAt };
  const wholes = entries.filter((entry) => entry['object'] === context.object);
  const reads = toReads(wholes, { observed, receivedAtMs: performance.now() }, 'batch');
  const { results, unsettled } = await applyReads(mirror, reads, heads);
  const parts = entries.filter((entry) => entry['object'] !== context.object);
  return [
    ...results,
    // Stripe must not be called here: data that cannot be ordered is dropped, and the next read corrects it.
    ...unsettled.map((id) => settledResult(id, 'stale')),
    ...(await mergeParts(mirror, parts, heads, observed)),
  ];
}

/** Rounds of deciding and merging before a contended part counts as stale. */
const maxRounds = 5;

async function mergeParts(
  mirror: Mirror,
  parts: readonly StripeObject[],
  known: ReadonlyMap<StripeId, Head>,
  observed: Observed,
): Promise<ItemResult[]> {
  const results: ItemResult[] = [];
  let open = parts;
  let heads = known;
  for (let round = 1; open.length > 0; round += 1) {
    if (round > 1) heads = await mirror.headsOf(open.map(({ id }) => id));
    const writes: MirrorWrite[] = [];
    for (const part of open) {
      const decision = decide(heads.get(part.id), { hash: undefined, observed });
      if (decision === 'insert' || decision === 'replace') {
        writes.push({ kind: 'merge', id: part.id, fields: prepare(part).object, observed, source: 'batch' });
      } else {
        results.push(settledResult(part.id, decision === 'refused' ? 'refused' : 'stale'));
      }
    }
    const written = writes.length > 0 ? await mirror.write(writes) : [];
    const again = new Set<StripeId>();
    writes.forEach(({ id }, index) => {
      const result = written[index];
      if (result?.kind === 'rejected') results.push(failedItem(id, result));
      else if (result?.kind === 'unchanged') results.push({ id, outcome: 'unchanged' });
      else if (result?.kind === 'written')
        results.push({ id, outcome: heads.has(id) ? 'updated' : 'created' });
      else if (round < maxRounds) again.add(id);
      else results.push(settledResult(id, 'stale'));
    });
    open = open.filter(({ id }) => again.has(id));
  }
  return results;
}
