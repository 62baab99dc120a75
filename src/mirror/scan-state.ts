// Implements the port ScanState on the collection of the state.
import { mongo } from 'mongoose';
import { GroupCommit } from '../base/group-commit.js';
import { persistently } from '../mongo/faults.js';
import { type StateDocument, stateIds } from '../mongo/sync-state.js';
import type { StripeId } from '../sync/ports.js';
import {
  type Candidates,
  type Checkpoint,
  type Confirmed,
  type HeldRemovals,
  type ScanState,
  supersededRun,
} from '../sync/scan/state.js';

/** Minimum number of ids to read at once. */
const minIds = 1_000;
/** Candidate documents per batch. MongoDB's default batch would be 16 MB, half a million ids. */
const batchSize = 10;

/** The scan state of one kind of object; src/mongo/sync-state.ts names its documents. */
export function createScanState(state: mongo.Collection<StateDocument>, object: string): ScanState {
  const scanId = stateIds.scan(object);
  const heldId = stateIds.scanHeld(object);
  const completedId = stateIds.scanCompleted(object);
  const whereHeld = ({ scanId: scan, requestId: request }: HeldRemovals) => ({ _id: heldId, scan, request });
  const absentId = (id: StripeId): string => stateIds.absent(object, id);
  const candidatePrefix = (id: string): string => stateIds.scanCandidates(object, id);

  const updateOwn = async (runId: string, doing: string, change: mongo.Document[]): Promise<void> => {
    const { matchedCount } = await persistently(doing, () => state.updateOne({ _id: scanId, runId }, change));
    if (matchedCount === 0) throw supersededRun();
  };

  /** Sets fields of a document and its time; creates it if it is missing. */
  const put = (_id: string, fields: mongo.Document, unset: readonly string[] = []) => {
    const change = [{ $set: { at: '$$NOW', ...fields } }, ...(unset.length > 0 ? [{ $unset: unset }] : [])];
    return state.updateOne({ _id }, change, { upsert: true });
  };

  // Every batch asks for it.
  const lastComplete = new GroupCommit<undefined, Confirmed | undefined>(async (asked) => {
    const found = await persistently('reading the last complete scan', () =>
      // A time ahead of MongoDB's clock, which has been set back since, says nothing.
      state.findOne({ _id: completedId, $expr: { $lte: ['$from', '$$NOW'] } }),
    );
    const confirmed = confirmedIn(found);
    return asked.map(() => confirmed);
  });

  return {
    async begin(runId) {
      const before = await persistently('beginning a scan', () =>
        state.findOneAndUpdate(
          { _id: scanId },
          { $set: { runId } },
          { upsert: true, returnDocument: 'after' },
        ),
      );
      return before?.['checkpoint'];
    },

    async save(runId: string, checkpoint: Checkpoint) {
      await updateOwn(runId, 'saving a checkpoint', [
        { $set: { checkpoint: { $literal: checkpoint }, savedAt: '$$NOW' } },
      ]);
    },

    async addCandidates(id, run, ids) {
      const chunk = { _id: `${candidatePrefix(id)}${new mongo.ObjectId().toHexString()}`, run, ids };
      await persistently('keeping candidates', () =>
        state.replaceOne({ _id: chunk._id }, chunk, { upsert: true }),
      );
    },

    async dropCandidates(id, { next, open }) {
      await persistently('dropping candidates', () =>
        state.deleteMany({
          ...withPrefix(candidatePrefix(id)),
          $or: [{ run: { $gte: next } }, { run: { $in: [...open] } }],
        }),
      );
    },

    async *candidates(id, after) {
      const prefix = candidatePrefix(id);
      // Each chunk is a new query, because proving a chunk may take longer than MongoDB keeps a cursor open.
      for (let position = after ?? prefix; ;) {
        const from = position;
        const found = await persistently('reading candidates', () => someAfter(state, prefix, from));
        if (!found) return;
        yield found;
        position = found.upTo;
      }
    },

    async end(
      runId,
      { scanId: id, isComplete, heldFor, heldCount = 0, elsewhere = [], confirmed, leftOut = 0 },
    ) {
      await updateOwn(runId, 'ending a scan', [{ $unset: 'checkpoint' }]);
      await persistently('ending a scan', async () => {
        const isHeld = heldFor !== undefined;
        const known = confirmed && literally(confirmed);
        const unset = known ? [] : confirmedFields;
        const held = { scan: id, request: { $literal: heldFor }, count: heldCount, elsewhere, ...known };
        await (isHeld
          ? put(heldId, held, ['runId', 'approval', ...unset])
          : state.deleteOne({ _id: heldId }));
        // This complete listing supersedes the candidates of earlier scans, held ones too.
        const others = isHeld ? [{ _id: { $not: startsWith(candidatePrefix(id)) } }] : [];
        await state.deleteMany({ $and: [withPrefix(stateIds.scanCandidates(object)), ...others] });
        await put(stateIds.scanLeftOut(object), { scan: id, count: leftOut });
        if (isComplete) await put(completedId, { scan: id, ...known }, unset);
      });
    },

    lastComplete: () => lastComplete.run(undefined),

    async held() {
      const found = await persistently('reading held removals', () => state.findOne({ _id: heldId }));
      if (!found) return undefined;
      return {
        scanId: String(found['scan']),
        requestId: String(found['request']),
        count: Number(found['count']),
        elsewhere: (found['elsewhere'] ?? []) as StripeId[], // only `end` writes it; earlier versions did not
        approval: found['approval'],
      };
    },

    async beginApproval(runId, held) {
      const found = await persistently('beginning an approval', () =>
        state.findOneAndUpdate(whereHeld(held), { $set: { runId } }, { returnDocument: 'after' }),
      );
      if (!found) throw supersededRun();
      return found['approval'];
    },

    async saveApproval(runId, approval) {
      const { matchedCount } = await persistently('saving an approval', () =>
        state.updateOne({ _id: heldId, runId }, [{ $set: { approval: { $literal: approval } } }]),
      );
      if (matchedCount === 0) throw supersededRun();
    },

    async endHeld(held) {
      const { scanId: id } = held;
      await persistently('ending held removals', async () => {
        const found = await state.findOne(whereHeld(held));
        if (!found) return;
        // Complete as of its listing, not of its approval. A clock that was ahead then is not believed now.
        const at = { $min: ['$$NOW', { $max: ['$at', { $literal: found['at'] }] }] };
        const confirmed = confirmedIn(found);
        const known = confirmed && literally(confirmed);
        await put(completedId, { scan: { $literal: id }, at, ...known }, known ? [] : confirmedFields);
        await state.deleteMany(withPrefix(candidatePrefix(id)));
        await state.deleteOne({ _id: heldId, scan: id });
      });
    },

    async recentlyAbsent(ids) {
      // A time that is still to come was stored while the clock was ahead: nobody knows how long ago.
      const since = {
        $expr: {
          $and: [{ $gt: ['$at', { $subtract: ['$$NOW', absentForMs] }] }, { $lte: ['$at', '$$NOW'] }],
        },
      };
      const found = await persistently('reading absent ids', () =>
        state.find({ _id: { $in: ids.map(absentId) }, ...since }, { projection: { id: 1 } }).toArray(),
      );
      return new Set(found.map(({ id }) => id as StripeId)); // only noteAbsent writes it
    },

    async noteAbsent(id) {
      await persistently('keeping an absent id', () => put(absentId(id), { id: { $literal: id } }));
    },
  };
}

const confirmedFields = ['from', 'leftOut', 'ofTestClocks'];

/** As values in a pipeline. */
const literally = (confirmed: Confirmed): mongo.Document =>
  Object.fromEntries(Object.entries(confirmed).map(([key, value]) => [key, { $literal: value as unknown }]));

/** Only `end` and `endHeld` write it. */
function confirmedIn(document: mongo.Document | null): Confirmed | undefined {
  const { from, leftOut = [], ofTestClocks } = document ?? {};
  if (!(from instanceof Date)) return undefined;
  return { from, leftOut: leftOut as readonly string[], ofTestClocks: ofTestClocks === true };
}

/** Chunks after a position, until they have `minIds` ids or more; undefined if there are none. */
async function someAfter(
  state: mongo.Collection<StateDocument>,
  prefix: string,
  position: string,
): Promise<Candidates | undefined> {
  const ids: StripeId[] = [];
  let upTo = position;
  const cursor = state.find(
    { _id: { $regex: startsWith(prefix), $gt: position } },
    { sort: { _id: 1 }, batchSize },
  );
  try {
    for await (const chunk of cursor) {
      ids.push(...(chunk['ids'] as StripeId[])); // only addCandidates writes it
      upTo = chunk._id;
      if (ids.length >= minIds) break;
    }
  } finally {
    await cursor.close();
  }
  return upTo === position ? undefined : { ids, upTo };
}

/** An id that Stripe does not know in this account is retrieved again after 30 days. */
const absentForMs = 30 * 86_400_000;

const startsWith = (prefix: string): RegExp => new RegExp(`^${prefix}`);

const withPrefix = (prefix: string): mongo.Filter<StateDocument> => ({ _id: startsWith(prefix) });
