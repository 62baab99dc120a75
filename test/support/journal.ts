// Writes down from outside, by a change stream, how often each request has ended: what a document shows in the end may have been overwritten.
import { mongo } from 'mongoose';
import { atEnd } from './cleanup.js';
import type { RequestDocument } from './requests.js';

interface End {
  readonly documentKey: { readonly _id: mongo.ObjectId };
  readonly status: string;
}

export interface Journal {
  /** The statuses that each request has ended with so far, by its id in hex. Waits until all that has happened is read. */
  ends: () => Promise<ReadonlyMap<string, readonly string[]>>;
}

const updated = (field: string): string => `$updateDescription.updatedFields.${field}`;

/** Ends of requests: updates that set `finishedAt`, whole replacements included. */
const pipeline = [
  { $match: { operationType: { $in: ['insert', 'update', 'replace'] } } },
  {
    $project: {
      'documentKey._id': 1,
      finishedAt: { $ifNull: [updated('finishedAt'), '$fullDocument.finishedAt'] },
      status: { $ifNull: [updated('status'), '$fullDocument.status'] },
    },
  },
  { $match: { finishedAt: { $ne: null } } },
];

/** Begins to write down; ends with the test. */
export async function keepJournal(requests: mongo.Collection<RequestDocument>): Promise<Journal> {
  const stream = requests.watch<mongo.BSON.Document, mongo.BSON.Document>(pipeline, { maxAwaitTimeMS: 200 });
  atEnd(() => stream.close());
  await stream.tryNext();
  const ends = new Map<string, string[]>();
  return {
    ends: async () => {
      const mark = new mongo.ObjectId();
      await requests.insertOne(
        { _id: mark, command: 'mark', status: 'succeeded', finishedAt: new Date() },
        { bypassDocumentValidation: true },
      );
      await requests.deleteOne({ _id: mark });
      for (;;) {
        const change = (await stream.next()) as unknown as End; // projected by the pipeline above
        const { _id: id } = change.documentKey;
        if (mark.equals(id)) return ends;
        ends.set(String(id), [...(ends.get(String(id)) ?? []), change.status]);
      }
    },
  };
}
