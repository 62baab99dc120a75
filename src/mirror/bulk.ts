// Sends guarded writes in one unordered bulk and determines the result of each. A lost acknowledgement, a
// lost race or a refused document affects only its own write. If MongoDB refuses the bulk as a whole, that is
// no race: nothing is decided again.
import { mongo } from 'mongoose';
import { hasNulKey, withoutBsonTypes } from '../mongo/bson.js';
import {
  documentCodes,
  isPassing,
  isRefusedAsWhole,
  nameOfError,
  persistently,
  refusesEveryWrite,
  serverCodes,
  toMongoFault,
  tooLargeCodes,
} from '../mongo/faults.js';
import type { Head, MirrorWrite, MirrorWriteResult, Rejected, StripeId } from '../sync/ports.js';
import type { MirrorDocument, MirrorOperation } from './operations.js';

type Collection = mongo.Collection<MirrorDocument>;
type HeadsOf = (ids: readonly StripeId[]) => Promise<Map<StripeId, Head>>;

const writing = 'writing the mirror';

/**
 * MongoDB's limit on a document, less the operation around it
 * (https://www.mongodb.com/docs/manual/reference/limits/).
 */
const maxDocumentBytes = 16 * 1024 * 1024 - 4_096;

/**
 * @returns one result per write, in order
 * @throws Fault `mongodb_unavailable`; `mongodb_rejected` if MongoDB refuses the writes as a whole
 */
export async function bulkWrite(
  collection: Collection,
  writes: readonly MirrorWrite[],
  operations: readonly MirrorOperation[],
  headsOf: HeadsOf,
): Promise<MirrorWriteResult[]> {
  const results = new Map<number, MirrorWriteResult>();
  const sendable = operations.map((_, index) => index);
  await sendAll(collection, operations, sendable, results);
  await settleByHeads(writes, results, headsOf);
  return writes.map((_, index) => results.get(index) ?? { kind: 'conflict' });
}

/**
 * Sends the operations with the given indexes. Sets the results that are certain, and leaves out those that
 * only the stored document can tell. If a bulk fails as a whole because of a document, it is halved until the
 * faulty operation is alone.
 * @throws Fault `mongodb_rejected` if it fails as a whole for another reason, which holds for every part
 */
async function sendAll(
  collection: Collection,
  operations: readonly MirrorOperation[],
  indexes: readonly number[],
  results: Map<number, MirrorWriteResult>,
): Promise<void> {
  const chosen = indexes.map((index) => operations[index]).filter((operation) => operation !== undefined);
  try {
    const answer = await persistently(writing, () => collection.bulkWrite([...chosen], { ordered: false }));
    const expected = chosen.filter((operation) => 'insertOne' in operation).length;
    const updates = chosen.length - expected;
    const applied = answer.matchedCount + answer.upsertedCount;
    // The counts are conclusive only if every guard held.
    if (answer.insertedCount === expected && applied === updates) {
      for (const index of indexes) results.set(index, { kind: 'written' });
    }
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    if (cause instanceof mongo.MongoBulkWriteError && !isRefusedAsWhole(cause)) {
      throwIfOfAll(cause);
      recordWriteErrors(cause, indexes, results);
      return;
    }
    if (isPassing(cause) || isRefusalOfAll(cause)) throw error;
    if (indexes.length > 1) {
      const middle = Math.ceil(indexes.length / 2);
      await sendAll(collection, operations, indexes.slice(0, middle), results);
      await sendAll(collection, operations, indexes.slice(middle), results);
      return;
    }
    for (const index of indexes) await settleAlone(collection, operations, index, results, error);
  }
}

/** A refusal by the server that lies in no document. What the driver cannot send lies in a document. */
const isRefusalOfAll = (cause: unknown): boolean =>
  cause instanceof mongo.MongoServerError && !documentCodes.has(cause.code);

/** Sends an operation again that failed alone, in a form that keeps every key; or finds why it is refused. */
async function settleAlone(
  collection: Collection,
  operations: readonly MirrorOperation[],
  index: number,
  results: Map<number, MirrorWriteResult>,
  error: unknown,
): Promise<void> {
  const operation = operations[index];
  const literal = withoutBsonTypes(operation);
  if (literal !== undefined && literal !== operation) {
    await sendAll(collection, operations.with(index, literal), [index], results);
    return;
  }
  const cause = error instanceof Error ? error.cause : undefined;
  results.set(index, rejection(cause, operation));
}

/**
 * A duplicate `_id` means that another writer was first. A duplicate in a user's own index is not a race, so
 * a retry would not help.
 */
const isLostRace = ({ code, errmsg }: mongo.WriteError): boolean =>
  code === serverCodes.duplicateKey && (errmsg === undefined || errmsg.includes('index: _id_'));

const writeErrorsOf = (error: mongo.MongoBulkWriteError): readonly mongo.WriteError[] =>
  [error.writeErrors].flat();

/** MongoDB refuses the documents one by one where the collection is a view, though none is the cause. */
function throwIfOfAll(error: mongo.MongoBulkWriteError): void {
  for (const { code } of writeErrorsOf(error)) {
    const ofAll = new mongo.MongoServerError({ code });
    if (refusesEveryWrite(ofAll)) throw toMongoFault(ofAll, writing);
  }
}

/**
 * Errors of single documents: a duplicate `_id` is a lost race, anything else a document that MongoDB
 * refuses.
 */
function recordWriteErrors(
  error: mongo.MongoBulkWriteError,
  indexes: readonly number[],
  results: Map<number, MirrorWriteResult>,
): void {
  for (const writeError of writeErrorsOf(error)) {
    const index = indexes[writeError.index];
    if (index === undefined || isLostRace(writeError)) continue;
    results.set(index, {
      kind: 'rejected',
      code: tooLargeCodes.has(writeError.code) ? 'document_too_large' : 'write_rejected',
      message: `MongoDB refused the document with code ${writeError.code}`,
    });
  }
}

function rejection(cause: unknown, operation: MirrorOperation | undefined): MirrorWriteResult {
  const isOfServer = cause instanceof mongo.MongoServerError;
  return (
    refusalOf(operation) ?? {
      kind: 'rejected',
      code: isOfServer && tooLargeCodes.has(cause.code) ? 'document_too_large' : 'write_rejected',
      message: `The object cannot be stored in MongoDB: ${nameOfError(cause)}`,
    }
  );
}

/** Why MongoDB cannot hold a document, or take an operation; undefined where size and keys allow it. */
export function refusalOf(operation: object | undefined): Rejected | undefined {
  if (isOversized(operation)) {
    return {
      kind: 'rejected',
      code: 'document_too_large',
      message: 'The object is larger than a MongoDB document may be (16 MB)',
    };
  }
  if (hasNulKey(operation)) {
    return {
      kind: 'rejected',
      code: 'unstorable_key',
      message: 'A key of the object contains a NUL character, which BSON cannot store',
    };
  }
  return undefined;
}

function isOversized(operation: object | undefined): boolean {
  try {
    return operation !== undefined && mongo.BSON.calculateObjectSize(operation) > maxDocumentBytes;
  } catch {
    return false;
  }
}

/**
 * Reads the stored documents to settle what the response left open. A document that carries the name of a
 * write proves that it was applied, even if its acknowledgement was lost.
 */
async function settleByHeads(
  writes: readonly MirrorWrite[],
  results: Map<number, MirrorWriteResult>,
  headsOf: HeadsOf,
): Promise<void> {
  const open = writes.map((write, index) => ({ write, index })).filter(({ index }) => !results.has(index));
  if (open.length === 0) return;
  const heads = await headsOf(open.map(({ write }) => write.id));
  for (const { write, index } of open) {
    const isApplied = heads.get(write.id)?.writeId === write.writeId;
    results.set(index, { kind: isApplied ? 'written' : 'conflict' });
  }
}
