// Where an object is decided to be deleted: by Stripe's own word, which is final, or by the mark of a
// request. Nothing is ever removed from the mirror.
import { Fault } from '../base/errors.js';
import { failedItem, type ItemResult, type SyncResult, Tally } from './outcome.js';
import {
  loggedId,
  type Mirror,
  type MirrorWrite,
  type MirrorWriteResult,
  type Observed,
  type StripeId,
} from './ports.js';
import { newWriteId, resultAt } from './writes.js';

/** Writers that change one object again and again may come between a head and its write, but not so often. */
const maxRounds = 20;

/**
 * Stores Stripe's word that an object is deleted. It is final, so the order of reads does not matter. Another
 * writer may come between: then it is decided again, until the deletion is stored or found stored.
 * @throws Fault `unsettled` (retryable) if other writers came between every time; the deletion is not stored
 *   then
 */
export async function confirmDeleted(mirror: Mirror, id: StripeId, observed: Observed): Promise<ItemResult> {
  for (let round = 1; round <= maxRounds; round += 1) {
    const head = (await mirror.headsOf([id])).get(id);
    if (head?.deletedBy === 'stripe') return { id, outcome: 'unchanged' };
    const result = await writeOne(mirror, {
      kind: 'confirm_deleted',
      id,
      writeId: newWriteId(),
      basis: head,
      observed,
      source: 'retrieve',
    });
    if (result.kind === 'rejected') return failedItem(id, result);
    if (result.kind !== 'conflict') return { id, outcome: 'deleted' };
  }
  throw unsettled(id);
}

/**
 * Marks an object as deleted in the mirror; Stripe is not called. One that is already marked is `unchanged`;
 * one that the mirror does not have is `failed` with code `not_found`, and nothing is written.
 * @throws Fault `unsettled` (retryable) if other writers came between every time
 */
export async function softDelete(mirror: Mirror, id: StripeId): Promise<SyncResult> {
  const tally = new Tally();
  tally.add(await markDeleted(mirror, id));
  return tally.result();
}

async function markDeleted(mirror: Mirror, id: StripeId): Promise<ItemResult> {
  for (let round = 1; round <= maxRounds; round += 1) {
    const head = (await mirror.headsOf([id])).get(id);
    if (!head) return failedItem(id, { code: 'not_found', message: 'The mirror has no such object' });
    if (head.deletedBy) return { id, outcome: 'unchanged' };
    const result = await writeOne(mirror, {
      kind: 'mark_deleted',
      id,
      writeId: newWriteId(),
      basis: head,
      source: 'request',
    });
    if (result.kind === 'rejected') return failedItem(id, result);
    if (result.kind !== 'conflict') return { id, outcome: 'deleted' };
  }
  throw unsettled(id);
}

const writeOne = async (mirror: Mirror, write: MirrorWrite): Promise<MirrorWriteResult> =>
  resultAt(await mirror.write([write]), 0);

const unsettled = (id: StripeId): Fault =>
  new Fault(
    'unsettled',
    `Other writers changed ${loggedId(id)} before its deletion could be stored, ${maxRounds} times`,
  );
