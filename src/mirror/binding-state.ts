// Implements the port BindingStore: the document account-binding of the state.
import type { mongo } from 'mongoose';
import { isDuplicateKey, persistently } from '../mongo/faults.js';
import { clearedAtReset, type StateDocument, stateIds } from '../mongo/sync-state.js';
import type { Binding, BindingStore, StoredBinding } from '../sync/binding.js';
import type { Sample } from '../sync/ports.js';

const projection = {
  livemode: 1,
  accountId: 1,
  salt: 1,
  keys: 1,
  boundAt: 1,
  witness: 1,
  provesAfter: 1,
  resetAt: 1,
  resetAgoMs: {
    $cond: [{ $eq: [{ $type: '$resetAt' }, 'date'] }, { $subtract: ['$$NOW', '$resetAt'] }, null],
  },
} as const;

/** The binding in the state. Throws Fault `mongodb_unavailable` or `mongodb_rejected`. */
export function createBindingStore(states: mongo.Collection<StateDocument>): BindingStore {
  return {
    async read() {
      const document = await persistently('reading the account binding', () =>
        states.findOne(
          { _id: stateIds.binding },
          { readPreference: 'primary', readConcern: { level: 'majority' }, projection },
        ),
      );
      return bindingOf(document ?? {});
    },

    async replace(seen, next, isNew) {
      return persistently('binding the account', async () => {
        try {
          const { matchedCount, upsertedCount } = await states.updateOne(
            { _id: stateIds.binding, ...asSeen(seen) },
            [{ $set: fieldsOf(next, isNew) }, { $unset: unsetBy(next) }],
            { upsert: true },
          );
          return matchedCount + upsertedCount > 0;
        } catch (error) {
          // The document is there, and is not what was seen.
          if (isDuplicateKey(error)) return false;
          throw error;
        }
      });
    },
  };
}

/**
 * Takes the binding away, with everything in the state that belongs to the former account. The next key
 * binds the database without proof. Idempotent. Returns the time of the reset.
 * @throws Fault `mongodb_unavailable`, `mongodb_rejected`
 */
export async function resetBinding(states: mongo.Collection<StateDocument>): Promise<Date> {
  return persistently('resetting the binding', async () => {
    await states.deleteMany(clearedAtReset());
    const marked = await states.findOneAndUpdate(
      { _id: stateIds.binding },
      [{ $replaceWith: { _id: '$_id', resetAt: '$$NOW' } }],
      { upsert: true, returnDocument: 'after' },
    );
    return marked?.['resetAt'] as Date; // as written above
  });
}

/** Matches the document while no other process has changed what a decision depends on. */
function asSeen({ livemode, accountId, salt, keys, resetAt }: StoredBinding): mongo.Filter<StateDocument> {
  const same = (value: unknown): unknown => value ?? { $exists: false };
  return {
    livemode: same(livemode),
    accountId: same(accountId),
    salt: same(salt),
    keys: salt === undefined ? { $exists: false } : [...keys],
    resetAt: same(resetAt),
  };
}

function fieldsOf(
  { livemode, accountId, salt, keys, witness, provesAfter }: Binding,
  isNew: boolean,
): mongo.Document {
  return {
    livemode,
    ...(accountId !== undefined && { accountId: { $literal: accountId } }),
    boundAt: isNew ? '$$NOW' : { $ifNull: ['$boundAt', '$$NOW'] },
    salt: { $literal: salt },
    keys: { $literal: keys },
    ...(witness && { witness: { $literal: witness } }),
    ...(provesAfter && { provesAfter }),
  };
}

const unsetBy = ({ accountId, witness }: Binding): readonly string[] => [
  'resetAt',
  ...(accountId === undefined ? ['accountId'] : []),
  ...(witness ? [] : ['witness']),
];

/** Only this file writes the document. */
function bindingOf(document: Partial<StateDocument>): StoredBinding {
  const { livemode, accountId, salt, keys, boundAt, witness, provesAfter, resetAt, resetAgoMs } = document;
  return {
    ...(typeof livemode === 'boolean' && { livemode }),
    ...(typeof accountId === 'string' && { accountId }),
    ...(typeof salt === 'string' && { salt }),
    keys: Array.isArray(keys) ? (keys as string[]) : [], // as written above
    ...(witness !== undefined && { witness: witness as Sample }), // as written above
    ...(boundAt instanceof Date && { boundAt }),
    ...(provesAfter instanceof Date && { provesAfter }),
    ...(resetAt instanceof Date && { resetAt, resetAgoMs: Number(resetAgoMs) }),
  };
}
