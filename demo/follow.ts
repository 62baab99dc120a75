// Requests as a service in another language would make them: a plain driver inserts a document and looks at it until it has ended.
import cliProgress from 'cli-progress';
import type { mongo } from 'mongoose';
import { until } from '../test/support/until.js';

/** A document of sync_requests, as far as the demo looks at it. */
export interface RequestDocument extends mongo.Document {
  _id: mongo.ObjectId;
  command: string;
  status?: string;
  attempts?: number;
  error?: { code: string; message: string };
  lease?: { owner: string };
  history?: object[];
  progress?: { done: number; estimated?: number; ratio?: number };
  result?: Record<string, number> & { items: { id: string; outcome: string; code?: string }[] };
}

const ended = ['succeeded', 'partial', 'failed', 'cancelled', 'coalesced'];

export class Requests {
  readonly #collection: mongo.Collection<RequestDocument>;

  constructor(db: mongo.Db) {
    this.#collection = db.collection<RequestDocument>('sync_requests');
  }

  /** Inserts the document as it is. */
  async insert(document: Record<string, unknown>): Promise<mongo.ObjectId> {
    const { insertedId } = await this.#collection.insertOne(
      // A copy: the driver adds the _id to what it is given.
      { ...document } as mongo.OptionalUnlessRequiredId<RequestDocument>,
    );
    return insertedId;
  }

  /** The request of a cron slot, once there is one. */
  async ofCron(): Promise<mongo.ObjectId> {
    const found = await until(() => this.#collection.findOne({ requestedBy: 'cron' }), {
      what: 'the cron slot',
      timeoutMs: 30_000,
    });
    return found._id;
  }

  async update(_id: mongo.ObjectId, update: mongo.UpdateFilter<RequestDocument>): Promise<void> {
    await this.#collection.updateOne({ _id }, update);
  }

  async read(_id: mongo.ObjectId): Promise<RequestDocument> {
    const found = await this.#collection.findOne({ _id });
    if (!found) throw new Error(`There is no request ${String(_id)}`);
    return found;
  }

  /** The request once the condition holds. */
  async reaching(
    _id: mongo.ObjectId,
    what: string,
    condition: (request: RequestDocument) => boolean,
  ): Promise<RequestDocument> {
    const reached = async (): Promise<RequestDocument | undefined> => {
      const found = await this.read(_id);
      return condition(found) ? found : undefined;
    };
    return until(reached, { what: `the request to be ${what}`, timeoutMs: 60_000 });
  }

  /** Waits for the end of a request, with a progress bar when its size is told. */
  async end(_id: mongo.ObjectId, barTotal?: number): Promise<RequestDocument> {
    const bar =
      barTotal === undefined
        ? undefined
        : new cliProgress.SingleBar({
            format: '  {bar} {value}/{total} customers, {duration_formatted}',
            noTTYOutput: true,
            notTTYSchedule: 2_000,
          });
    bar?.start(barTotal ?? 0, 0);
    try {
      return await until(
        async () => {
          const found = await this.#collection.findOne({ _id });
          if (found?.progress) bar?.update(Math.min(found.progress.done, barTotal ?? Infinity));
          if (!ended.includes(found?.status ?? '')) return undefined;
          bar?.update(barTotal ?? 0);
          return found;
        },
        { what: 'the request to end', timeoutMs: 3_600_000 },
      );
    } finally {
      bar?.stop();
    }
  }

  async insertAndFollow(document: Record<string, unknown>): Promise<RequestDocument> {
    return this.end(await this.insert(document));
  }
}
