// A mirror on a database of the test's own, and reads as a source would give them.
import { performance } from 'node:perf_hooks';
import { mongo } from 'mongoose';
import { ensureMirror } from '../../src/mirror/ensure.js';
import { createMirror } from '../../src/mirror/mirror.js';
import { type Applied, applyReads, toReads } from '../../src/sync/apply.js';
import { type BatchContext, syncBatch } from '../../src/sync/batch.js';
import type { SyncResult } from '../../src/sync/outcome.js';
import type { Answer, Mirror, StripeId, StripeObject } from '../../src/sync/ports.js';
import type { Telling } from '../../src/sync/telling.js';
import { atEnd } from './cleanup.js';
import type { FreshDatabase } from './database.js';

export const mirrorCollection = 'stripe_customers';

export interface TestMirror {
  mirror: Mirror;
  client: mongo.MongoClient;
  db: mongo.Db;
  /** The stored document, whole. */
  stored: (id: string) => Promise<mongo.Document | undefined>;
  /** One object as if the list had answered it from `from` to `to`, milliseconds on MongoDB's clock. */
  read: (object: object, from: number, to?: number) => Promise<Applied>;
}

/** Creates collection, indexes and view. The client ends with the test or file that called. */
export async function openMirror({ uri, name }: FreshDatabase): Promise<TestMirror> {
  const client = await mongo.MongoClient.connect(uri, {
    writeConcern: { w: 'majority' },
    monitorCommands: true,
  });
  atEnd(() => client.close());
  const db = client.db(name);
  await ensureMirror(db, mirrorCollection);
  const mirror = mirrorIn(db);
  const documents = db.collection<{ _id: string }>(mirrorCollection);
  return {
    mirror,
    client,
    db,
    stored: async (id) => (await documents.findOne({ _id: id })) ?? undefined,
    read: async (object, from, to = from + 10) => {
      const reads = toReads([object as StripeObject], answered(from, to), 'list');
      return applyReads(mirror, reads, await mirror.headsOf(reads.map(({ id }) => id)));
    },
  };
}

/** The mirror as one replica has it: several of them share a database, and nothing else. */
export const mirrorIn = (db: mongo.Db): Mirror =>
  createMirror({
    db,
    collection: mirrorCollection,
    idPrefix: 'cus_',
    stamp: { object: 'customer', apiVersion: '2026-10-28.endive', livemode: false },
    observer: {
      writeFinished: () => undefined,
      timesAhead: () => undefined,
      writesRefused: () => undefined,
      writesAccepted: () => undefined,
    },
    logger: { warn: () => undefined },
  });

/** A batch inserted at this place among all batches, milliseconds on MongoDB's clock. */
export const insertedAs = (place: number, at: number): Telling => ({
  from: new Date(at),
  to: new Date(at + 1),
  position: `stream:${String(place).padStart(8, '0')}`,
});

/** A batch that says when it was true, milliseconds on MongoDB's clock. */
export const datedAs = (place: number, at: number): Telling => ({ ...insertedAs(place, at), isDated: true });

const neverScanned: BatchContext['scans'] = {
  lastComplete: () => Promise.resolve(undefined),
  recentlyAbsent: () => Promise.resolve(new Set()),
};

/** One batch of customers in test mode; unless told otherwise no scan was ever complete. */
export const takeBatch = (
  mirror: Mirror,
  entries: readonly unknown[],
  told: Telling,
  { scans = neverScanned, signal = new AbortController().signal, ...rest }: Partial<BatchContext> = {},
): Promise<SyncResult> =>
  syncBatch(mirror, entries, { object: 'customer', livemode: false, told, scans, signal, ...rest });

/** An answer that has just come in. */
export const answered = (from: number, to: number): Answer => ({
  observed: { from: new Date(from), to: new Date(to) },
  receivedAtMs: performance.now(),
});

export const stripeId = (id: string): StripeId => id as StripeId;

let ids = 0;
/** An id that no other call in this file of tests gives. */
export const newId = (): string => `cus_${(ids += 1)}`;

/** A whole customer in test mode, as a list or a batch has it. */
export const whole = (id: string, fields: object = {}): StripeObject => ({
  id: stripeId(id),
  object: 'customer',
  created: 1_700_000_000,
  livemode: false,
  ...fields,
});
