// The step that every operation shares: applies reads of objects to the mirror, guarded against older and
// newer reads.
import { Fault } from '../base/errors.js';
import { pause } from '../base/waiting.js';
import { prepare } from './canonical.js';
import { decide, type Decision, maxAnswerAgeMs } from './decide.js';
import { confirmDeleted } from './deletion.js';
import { failedItem, type ItemResult } from './outcome.js';
import type {
  Answer,
  CallOptions,
  Head,
  Mirror,
  MirrorWrite,
  RetrieveAnswer,
  Source,
  StripeId,
  StripeObject,
  WriteSource,
} from './ports.js';

/** A whole object as Stripe sent it, ready to be compared and stored. */
export interface WholeRead extends Answer {
  readonly id: StripeId;
  readonly object: StripeObject;
  readonly hash: string;
  readonly source: WriteSource;
}

/** Makes reads of the objects of one answer. */
export function toReads(objects: readonly StripeObject[], answer: Answer, source: WriteSource): WholeRead[] {
  return objects.map((received) => ({
    id: received.id,
    ...prepare(received),
    observed: answer.observed,
    receivedAtMs: answer.receivedAtMs,
    source,
  }));
}

export interface Applied {
  readonly results: readonly ItemResult[];
  /**
   * Neither written nor dropped, but read again: the read is too old, or it overlaps with another read and
   * differs.
   */
  readonly unsettled: readonly StripeId[];
}

/** Rounds of deciding and writing before a contended object is read again. */
const maxRounds = 5;

/**
 * Decides on each read by its head in the mirror and writes. If another writer interferes, it decides again.
 * @param reads at most one per id
 * @param heads of the mirror, read after the reads were answered; an id without a head counts as new
 */
export async function applyReads(
  mirror: Mirror,
  reads: readonly WholeRead[],
  heads: ReadonlyMap<StripeId, Head>,
): Promise<Applied> {
  const results: ItemResult[] = [];
  const unsettled: StripeId[] = [];
  let known = heads;
  let open = reads;
  for (let round = 1; open.length > 0; round += 1) {
    const writes: MirrorWrite[] = [];
    const writing: WholeRead[] = [];
    for (const read of open) {
      const decision = decisionOn(known.get(read.id), read);
      switch (decision) {
        case 'insert':
        case 'replace':
          writes.push({ kind: decision, ...pick(read) });
          writing.push(read);
          break;
        case 'overlap':
          unsettled.push(read.id);
          break;
        default:
          results.push(settledResult(read.id, decision));
      }
    }
    const conflicts = await writeAll(mirror, writes, writing, results);
    if (round === maxRounds) return { results, unsettled: [...unsettled, ...conflicts.map(({ id }) => id)] };
    if (conflicts.length > 0) known = await mirror.headsOf(conflicts.map(({ id }) => id));
    open = conflicts;
  }
  return { results, unsettled };
}

/** Writes, and adds a result for each settled read. Returns the reads whose guard did not hold. */
async function writeAll(
  mirror: Mirror,
  writes: readonly MirrorWrite[],
  reads: readonly WholeRead[],
  results: ItemResult[],
): Promise<WholeRead[]> {
  if (writes.length === 0) return [];
  const written = await mirror.write(writes);
  return reads.filter((read, index) => {
    const result = written[index];
    if (!result)
      throw new Fault('internal', 'The mirror returned fewer results than writes', { kind: 'retryable' });
    if (result.kind === 'conflict') return true;
    if (result.kind === 'rejected') {
      results.push(failedItem(read.id, result));
    } else if (result.kind === 'unchanged') {
      results.push({ id: read.id, outcome: 'unchanged' });
    } else {
      results.push({ id: read.id, outcome: writes[index]?.kind === 'insert' ? 'created' : 'updated' });
    }
    return false;
  });
}

const pick = ({ id, object, hash, observed, source }: WholeRead) => ({ id, object, hash, observed, source });

/** An answer that is too old to write is read again. One that needs no write stays valid at any age. */
function decisionOn(head: Head | undefined, read: WholeRead): Decision {
  const decision = decide(head, read);
  const isWrite = decision === 'insert' || decision === 'replace';
  return isWrite && isTooOld(read) ? 'overlap' : decision;
}

const isTooOld = (read: Answer): boolean => performance.now() - read.receivedAtMs > maxAnswerAgeMs;

/** The result of a read that needs no write. */
export function settledResult(id: StripeId, decision: 'unchanged' | 'stale' | 'refused'): ItemResult {
  if (decision === 'refused') return { id, outcome: 'stale', code: 'deleted_in_stripe' };
  return { id, outcome: decision };
}

/**
 * Maximum reads of an object whose answers overlap. Each read is sent later, so this settles unless the
 * object keeps changing.
 */
const maxReads = 6;

/**
 * Retrieves one object from Stripe and updates the mirror. Reads again while the answer cannot be ordered.
 */
export async function retrieveAndApply(
  source: Source,
  mirror: Mirror,
  id: StripeId,
  options: CallOptions,
): Promise<ItemResult> {
  for (let read = 1; read <= maxReads; read += 1) {
    const result = await applyAnswer(mirror, id, await source.retrieve(id, options));
    if (result) return result;
    // The upper bound of the stored read is rounded up by some milliseconds: let the clock pass it.
    await pause(20 * read, options.signal);
    options.signal.throwIfAborted();
  }
  return failedItem(id, {
    code: 'unsettled',
    message: `${maxReads} reads differed from those of other writers at the same time`,
  });
}

/** @returns undefined where the answer cannot be ordered */
async function applyAnswer(
  mirror: Mirror,
  id: StripeId,
  answer: RetrieveAnswer,
): Promise<ItemResult | undefined> {
  switch (answer.kind) {
    case 'no_url':
      return failedItem(id, {
        code: 'invalid_id',
        message: 'Stripe cannot be asked for this id, because no URL can name it; scans mirror the object',
      });
    case 'not_in_account':
      return failedItem(id, {
        code: 'not_in_account',
        message: 'Stripe has no such object in this account',
      });
    case 'deleted':
      return confirmDeleted(mirror, id, answer.observed);
    case 'found': {
      const { results } = await applyReads(
        mirror,
        toReads([answer.object], answer, 'retrieve'),
        await mirror.headsOf([id]),
      );
      return results[0];
    }
  }
}
