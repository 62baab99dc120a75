// The rate limiter's state: one document of sync_state, taken from by atomic updates on MongoDB's clock, so that all replicas share
// one budget. Slots whose acknowledgement is lost are slots unused; nothing is ever granted twice.
import type { mongo } from 'mongoose';
import { slowdownPipeline, takePipeline, type Slowdown, type SlotRates } from './limiter-pipeline.js';
import type { StateDocument } from './state.js';

const documentId = 'rate-limiter';

interface Taken {
  readonly now: number;
  readonly factor: number;
  readonly slots: readonly { readonly at: number; readonly granted: boolean }[];
}

export interface SlotAnswer {
  /** MongoDB's time when the slots were taken; milliseconds since 1970, as all times here. */
  readonly now: number;
  /** Rate of the whole at that time; 0: unlimited. */
  readonly callsPerSecond: number;
  /** One a want, in order: when its slot is due if it was granted, otherwise the time of the first one that might be. */
  readonly slots: readonly { readonly at: number; readonly granted: boolean }[];
}

export interface LimiterState {
  /**
   * Takes slots for calls of the named endpoints, the most urgent first, none of them further ahead than 100 ms.
   * Throws the driver's errors: whoever asked asks again.
   */
  take(wants: readonly string[], rates: SlotRates): Promise<SlotAnswer>;
  /** Slows all replicas down after a 429. */
  slowDown(slowdown: Slowdown): Promise<void>;
}

/** Creates the limiter's state in the collection `sync_state`. */
export function createLimiterState(states: mongo.Collection<StateDocument>): LimiterState {
  const update = (pipeline: mongo.Document[]) =>
    retriedAsDuplicate(() =>
      states.findOneAndUpdate({ _id: documentId }, pipeline, {
        upsert: true,
        returnDocument: 'after',
        projection: { 'take.now': 1, 'take.factor': 1, 'take.slots': 1 },
        writeConcern: { w: 'majority' },
      }),
    );

  return {
    async take(wants, rates) {
      const document = await update(takePipeline(wants, rates));
      const { now, factor, slots } = document?.['take'] as Taken; // the pipeline above has just written it
      return { now, slots, callsPerSecond: rates.callsPerSecond * factor };
    },
    async slowDown(slowdown) {
      await update(slowdownPipeline(slowdown));
    },
  };
}

/** Two replicas may both find no document and insert it; the second one's update then finds it. */
async function retriedAsDuplicate<T>(upsert: () => Promise<T>): Promise<T> {
  try {
    return await upsert();
  } catch (error) {
    if ((error as { code?: unknown }).code !== 11_000) throw error;
    return upsert();
  }
}
