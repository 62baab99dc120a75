// Scan state in sync_state: one checkpoint a kind of object, candidates for removal in chunks, the last complete scan.
import { stateIds } from '../mongo/sync-state.js';
import { mongo } from 'mongoose';
import { persistently } from '../mongo/faults.js';
import type { StateDocument } from '../mongo/sync-state.js';
import type { StripeId } from '../sync/ports.js';
import {
  type Candidates,
  type Checkpoint,
  type HeldRemovals,
  type ScanState,
  supersededRun,
} from '../sync/scan/state.js';

const chunkSize = 1_000;
/** Of them that are read at once: a batch of MongoDB's own choice would be 16 MB, half a million ids. */
const chunksAtOnce = 10;

/** Documents: `scan:<object>`, `scan-candidates:<object>:<scanId>:<chunk>`, `scan-completed:<object>`,
 * `scan-held:<object>`, `absent:<object>:<id>`. */
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
      for (let start = 0; start < ids.length; start += chunkSize) {
        const chunk = {
          _id: `${candidatePrefix(id)}${new mongo.ObjectId().toHexString()}`,
          run,
          ids: ids.slice(start, start + chunkSize),
        };
        await persistently('keeping candidates', () =>
          state.replaceOne({ _id: chunk._id }, chunk, { upsert: true }),
        );
      }
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
      // No cursor stays open: proving what it gave may take longer than MongoDB would keep it.
      for (let position = after ?? prefix; ;) {
        const from = position;
        const found = await persistently('reading candidates', () => someAfter(state, prefix, from));
        if (!found) return;
        yield found;
        position = found.upTo;
      }
    },

    async end(runId, { scanId: id, isComplete, heldFor, heldCount = 0 }) {
      await updateOwn(runId, 'ending a scan', [{ $unset: 'checkpoint' }]);
      await persistently('ending a scan', async () => {
        const isHeld = heldFor !== undefined;
        await (isHeld
          ? state.updateOne(
              { _id: heldId },
              [
                { $set: { scan: id, request: { $literal: heldFor }, count: heldCount, at: '$$NOW' } },
                { $unset: ['runId', 'approval'] },
              ],
              { upsert: true },
            )
          : state.deleteOne({ _id: heldId }));
        // Candidates of earlier scans, held ones too, are superseded by what this complete listing found.
        const others = isHeld ? [{ _id: { $not: startsWith(candidatePrefix(id)) } }] : [];
        await state.deleteMany({ $and: [withPrefix(stateIds.scanCandidates(object)), ...others] });
        if (isComplete) {
          await state.updateOne({ _id: completedId }, [{ $set: { scan: id, at: '$$NOW' } }], {
            upsert: true,
          });
        }
      });
    },

    async held() {
      const found = await persistently('reading held removals', () => state.findOne({ _id: heldId }));
      if (!found) return undefined;
      return {
        scanId: String(found['scan']),
        requestId: String(found['request']),
        count: Number(found['count']),
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
        // Complete as of when it was listed, not of when somebody approved it.
        const at = { $max: ['$at', { $literal: found['at'] }] };
        await state.updateOne({ _id: completedId }, [{ $set: { scan: { $literal: id }, at } }], {
          upsert: true,
        });
        await state.deleteMany(withPrefix(candidatePrefix(id)));
        await state.deleteOne({ _id: heldId, scan: id });
      });
    },

    async recentlyAbsent(ids) {
      const since = { $expr: { $gt: ['$at', { $subtract: ['$$NOW', absentForMs] }] } };
      const found = await persistently('reading absent ids', () =>
        state.find({ _id: { $in: ids.map(absentId) }, ...since }, { projection: { id: 1 } }).toArray(),
      );
      return new Set(found.map(({ id }) => id as StripeId)); // written by noteAbsent alone
    },

    async noteAbsent(id) {
      await persistently('keeping an absent id', () =>
        state.updateOne({ _id: absentId(id) }, [{ $set: { id: { $literal: id }, at: '$$NOW' } }], {
          upsert: true,
        }),
      );
    },
  };
}

/** Chunks from a position on, until they hold `chunkSize` ids or more; undefined where there are none. */
async function someAfter(
  state: mongo.Collection<StateDocument>,
  prefix: string,
  position: string,
): Promise<Candidates | undefined> {
  const ids: StripeId[] = [];
  let upTo = position;
  const cursor = state.find(
    { _id: { $regex: startsWith(prefix), $gt: position } },
    { sort: { _id: 1 }, batchSize: chunksAtOnce },
  );
  try {
    for await (const chunk of cursor) {
      ids.push(...(chunk['ids'] as StripeId[])); // written by addCandidates alone
      upTo = chunk._id;
      if (ids.length >= chunkSize) break;
    }
  } finally {
    await cursor.close();
  }
  return upTo === position ? undefined : { ids, upTo };
}

/** An id that Stripe does not know in this account is asked for again after 30 days. */
const absentForMs = 30 * 86_400_000;

const startsWith = (prefix: string): RegExp => new RegExp(`^${prefix}`);

const withPrefix = (prefix: string): mongo.Filter<StateDocument> => ({ _id: startsWith(prefix) });
