// Scan state in sync_state: one checkpoint a kind of object, candidates for removal in chunks, the last complete scan.
import { mongo } from 'mongoose';
import type { StripeId } from '../sync/ports.js';
import { type Checkpoint, type ScanState, supersededRun } from '../sync/scan/state.js';
import { idempotent } from './faults.js';
import type { StateDocument } from './state.js';

const chunkSize = 1_000;

/** Documents: `scan:<object>`, `scan-candidates:<object>:<scanId>:<chunk>`, `scan-completed:<object>`, `scan-held:<object>`. */
export function createScanState(state: mongo.Collection<StateDocument>, object: string): ScanState {
  const scanId = `scan:${object}`;
  const candidatePrefix = (id: string): string => `scan-candidates:${object}:${id}:`;

  const updateOwn = async (runId: string, doing: string, change: mongo.Document[]): Promise<void> => {
    const { matchedCount } = await idempotent(doing, () => state.updateOne({ _id: scanId, runId }, change));
    if (matchedCount === 0) throw supersededRun();
  };

  return {
    async begin(runId) {
      const before = await idempotent('beginning a scan', () =>
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

    async addCandidates(id, ids) {
      for (let start = 0; start < ids.length; start += chunkSize) {
        const chunk = {
          _id: `${candidatePrefix(id)}${new mongo.ObjectId().toHexString()}`,
          ids: ids.slice(start, start + chunkSize),
        };
        await idempotent('keeping candidates', () =>
          state.replaceOne({ _id: chunk._id }, chunk, { upsert: true }),
        );
      }
    },

    async *candidates(id) {
      const cursor = state.find(withPrefix(candidatePrefix(id)));
      try {
        for await (const { ids } of cursor) yield ids as StripeId[]; // written by addCandidates alone
      } finally {
        await cursor.close();
      }
    },

    async end(runId, { scanId: id, isComplete, heldFor }) {
      await updateOwn(runId, 'ending a scan', [{ $unset: 'checkpoint' }]);
      await idempotent('ending a scan', async () => {
        await state.updateOne(
          { _id: `scan-held:${object}` },
          heldFor === undefined
            ? { $unset: { scan: '', request: '' } }
            : { $set: { scan: id, request: heldFor } },
          { upsert: heldFor !== undefined },
        );
        // Candidates of earlier scans, held ones too, are superseded by what this complete listing found.
        await state.deleteMany(
          heldFor === undefined
            ? withPrefix(`scan-candidates:${object}:`)
            : {
                $and: [
                  withPrefix(`scan-candidates:${object}:`),
                  { _id: { $not: startsWith(candidatePrefix(id)) } },
                ],
              },
        );
        if (isComplete) {
          await state.updateOne({ _id: `scan-completed:${object}` }, [{ $set: { scan: id, at: '$$NOW' } }], {
            upsert: true,
          });
        }
      });
    },
  };
}

const startsWith = (prefix: string): RegExp => new RegExp(`^${prefix}`);

const withPrefix = (prefix: string): mongo.Filter<StateDocument> => ({ _id: startsWith(prefix) });
