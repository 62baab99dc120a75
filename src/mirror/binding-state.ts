// Implements the port BindingStore: the document account-binding of sync_state.
import type { mongo } from 'mongoose';
import { againOnDuplicate, persistently } from '../mongo/faults.js';
import { type StateDocument, stateIds } from '../mongo/sync-state.js';
import type { Binding, BindingStore } from '../sync/binding.js';

/** The binding in `sync_state`. Throws Fault `mongodb_unavailable` or `mongodb_rejected`. */
export function createBindingStore(states: mongo.Collection<StateDocument>): BindingStore {
  return {
    async read() {
      const document = await persistently('reading the account binding', () =>
        states.findOne(
          { _id: stateIds.binding },
          { readPreference: 'primary', readConcern: { level: 'majority' } },
        ),
      );
      return document ? bindingOf(document) : undefined;
    },

    async bind({ livemode, accountId }) {
      const document = await persistently('binding the account', () =>
        againOnDuplicate(() =>
          states.findOneAndUpdate({ _id: stateIds.binding }, bindPipeline(livemode, accountId), {
            upsert: true,
            returnDocument: 'after',
          }),
        ),
      );
      return document ? bindingOf(document) : { livemode, accountId };
    },
  };
}

/** Sets missing fields only. The account is set only if the mode matches. */
function bindPipeline(livemode: boolean, accountId: string | undefined): mongo.Document[] {
  const isSameMode = { $eq: [{ $ifNull: ['$livemode', livemode] }, livemode] };
  const account =
    accountId === undefined ? '$accountId' : { $ifNull: ['$accountId', { $literal: accountId }] };
  return [
    {
      $set: {
        livemode: { $ifNull: ['$livemode', livemode] },
        accountId: { $cond: [isSameMode, account, '$accountId'] },
        boundAt: { $ifNull: ['$boundAt', '$$NOW'] },
      },
    },
  ];
}

/** Only the pipeline above writes the document. */
const bindingOf = (document: StateDocument): Binding => ({
  livemode: document['livemode'] === true,
  ...(typeof document['accountId'] === 'string' && { accountId: document['accountId'] }),
});
