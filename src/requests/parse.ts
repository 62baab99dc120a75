// Parses requests, and builds those that are inserted from Node. A fault names the field, what is allowed and
// what was found. All faults are reported at once.
import { mongo } from 'mongoose';
import type { z } from 'zod';
import { Fault } from '../base/errors.js';
import { bsonBytes, hasNulKey, withoutBsonTypes } from '../mongo/bson.js';
import { commandNames, commandOf, optionsSchema, requestSchema, type SyncCommand } from './commands.js';
import {
  type CommandInput,
  maxBatchBytes,
  maxEntries,
  type RequestId,
  type RequestInput,
} from './request.js';

/**
 * The fields of a request that the worker reads, each with its maximum size in bytes of BSON. Larger ones are
 * refused unread.
 */
export const readableBytes = {
  command: 1_024,
  object: 1_024,
  /** An id has at most 255 characters of 4 bytes. */
  ids: 1_024 * 1_024,
  batch: maxBatchBytes,
  stripeId: 2_048,
  request: 1_024,
  observedAt: 1_024,
  runAt: 1_024,
  dedupeKey: 4_096,
  maxAttempts: 1_024,
  dryRun: 1_024,
  requestedBy: 4_096,
  cancel: 1_024,
} as const;
export type ReadableField = keyof typeof readableBytes;
// Keys of the object above.
export const readableFields = Object.keys(readableBytes) as readonly ReadableField[];

export type ParsedRequest =
  | { readonly kind: 'valid'; readonly command: SyncCommand; readonly options: ParsedOptions }
  | { readonly kind: 'invalid'; readonly faults: readonly string[] };

interface ParsedOptions {
  readonly dryRun: boolean;
  readonly maxAttempts: number | undefined;
}

/** Sizes of fields that were too large to be loaded: bytes of BSON, and entries where it is a list. */
export type Oversize = Partial<
  Record<ReadableField, { readonly bytes: number; readonly entries: number | undefined }>
>;

/** Sizes of all fields, as `readableProjection` computes them. */
export type FieldSizes = Partial<
  Record<ReadableField, { readonly bytes: number; readonly entries?: number }>
>;

/** Those that were too large to be loaded. */
export function oversizeOf(sizes: FieldSizes): Oversize {
  return Object.fromEntries(
    readableFields.flatMap((field) => {
      const { bytes, entries } = sizes[field] ?? { bytes: 0 };
      return bytes > readableBytes[field] ? [[field, { bytes, entries }]] : [];
    }),
  );
}

/** Most faults that are listed for one request. */
const maxFaults = 100;

/**
 * Parses the fields of a request. `oversize` names those that were left out for their size. A fault names the
 * field, what is allowed and what was found. Customers' data is described by its type only.
 */
export function parseRequest(body: mongo.BSON.Document, oversize: Oversize = {}): ParsedRequest {
  const tooLarge = Object.entries(oversize).map(([field, { bytes, entries }]) => {
    const found = entries === undefined ? `${bytes} bytes` : `a list of ${entries} with ${bytes} bytes`;
    // Keys of the type above.
    return `${field} must have at most ${readableBytes[field as ReadableField]} bytes, got ${found}`;
  });
  const parsed = requestSchema.safeParse(body);
  const issues = parsed.success
    ? []
    : issuesOf(parsed.error, body).filter(({ path }) => !(String(path[0]) in oversize));
  if (parsed.success && tooLarge.length === 0) {
    return {
      kind: 'valid',
      // The document itself, not zod's copy of it: a copy loses keys such as __proto__.
      command: commandOf(body as CommandInput), // zod has just checked it
      options: { dryRun: parsed.data.dryRun ?? false, maxAttempts: parsed.data.maxAttempts ?? undefined },
    };
  }
  return {
    kind: 'invalid',
    faults: limited([...tooLarge, ...new Set(issues.map((issue) => faultOf(issue, body)))]),
  };
}

/** Without a known command zod stops, but the options can still be checked. */
function issuesOf({ issues }: z.ZodError, body: mongo.BSON.Document): readonly z.core.$ZodIssue[] {
  if (!issues.some(({ code }) => code === 'invalid_union')) return issues;
  return [...issues, ...(optionsSchema.safeParse(body).error?.issues ?? [])];
}

function limited(faults: readonly string[]): readonly string[] {
  if (faults.length <= maxFaults) return faults;
  return [...faults.slice(0, maxFaults), `and ${faults.length - maxFaults} faults more`];
}

function faultOf(issue: z.core.$ZodIssue, body: mongo.BSON.Document): string {
  const [field] = issue.path;
  const value = valueAt(body, issue.path);
  if (issue.code === 'invalid_union') return commandFault(value);
  const name = issue.path
    .map((key, depth) => (typeof key === 'number' ? `[${key}]` : `${depth === 0 ? '' : '.'}${String(key)}`))
    .join('');
  return `${name} must be ${issue.message}, got ${found(String(field), issue.path.length, value)}`;
}

/** Free text and customers are described by type only: both may hold personal data. */
function found(field: string, depth: number, value: unknown): string {
  if (field === 'batch' && depth === 2 && typeof value === 'string') {
    return 'a string (a batch that has succeeded keeps the ids alone: insert a new request instead)';
  }
  const isPrivate = field === 'batch' || field === 'requestedBy' || field === 'dedupeKey';
  if (isPrivate && typeof value === 'string') return `a string of ${value.length} characters`;
  return isPrivate ? describeType(value) : describeValue(value);
}

/** The message for an unknown command. */
export function commandFault(command: unknown): string {
  return `command must be one of ${commandNames.join(', ')}, got ${describeValue(command)}`;
}

/** The message for a status that no request may have when it is inserted or requeued by hand. */
export const statusFault = (found: string): string => `status must be left out or be pending, got ${found}`;

function valueAt(body: mongo.BSON.Document, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === 'object' && value !== null && Object.hasOwn(value, key)
        ? (value as Record<PropertyKey, unknown>)[key] // an own key, as the line above says
        : undefined,
    body,
  );
}

/** A request as it is inserted. */
export type NewRequest = RequestInput & { readonly _id: RequestId };

/**
 * Makes a request's document for insertion.
 * @throws Fault `invalid_request` with every fault named
 */
export function newRequest(input: RequestInput, _id: RequestId = new mongo.ObjectId()): NewRequest {
  const parsed = parseRequest(input);
  const faults = parsed.kind === 'invalid' ? [...parsed.faults] : [];
  if (input.command === 'syncBatch' && parsed.kind === 'valid') faults.push(...batchFaults(input.batch));
  if (faults.length > 0) throw invalidRequest(faults);
  return { _id, ...withoutBsonTypes(input) };
}

export const nulKeyFault = 'must have no key with a NUL character, which MongoDB cannot store';

function batchFaults(batch: readonly object[]): readonly string[] {
  if (hasNulKey(batch)) return [`batch ${nulKeyFault}`];
  const bytes = bsonBytes({ batch });
  return bytes > maxBatchBytes ? [`batch must have at most ${maxBatchBytes} bytes, got ${bytes} bytes`] : [];
}

/** A fault whose message lists all faults. The stored request also has them one by one, in `error.faults`. */
const invalidRequest = (faults: readonly string[]): Fault => new Fault('invalid_request', faults.join('; '));

// Splits customers into batches, one for each request.
/**
 * Bytes of `{ batch: [] }`, and of an entry's type, index ("0" to "999") and end of string before its own.
 */
const emptyBatchBytes = mongo.BSON.calculateObjectSize({ batch: [] });
const entryOverheadBytes = 1 + String(maxEntries - 1).length + 1;

/**
 * The entries in their order, in batches of at most 1,000 entries and 4 MiB of BSON. An entry that is larger
 * than that by itself becomes a batch of its own, which `newRequest` refuses.
 */
export function splitBatch<Entry>(
  entries: readonly Entry[],
  objectOf: (entry: Entry) => object,
): readonly (readonly Entry[])[] {
  const batches: Entry[][] = [];
  let bytes = Infinity;
  for (const entry of entries) {
    const entryBytes = bsonBytes(objectOf(entry)) + entryOverheadBytes;
    const current = batches.at(-1);
    if (current && current.length < maxEntries && bytes + entryBytes <= maxBatchBytes) {
      current.push(entry);
      bytes += entryBytes;
    } else {
      batches.push([entry]);
      bytes = emptyBatchBytes + entryBytes;
    }
  }
  return batches;
}

// Shows a value of a request in a fault: enough to find it, never a person's data or a secret. Users may put
// anything anywhere.
const longest = 48;
/** Beside what ids, commands and words of a setting consist of; addresses and sentences have one. */
const oddCharacter = /[^A-Za-z0-9_.:/-]/u;
/** Keys of Stripe, whole or in part. */
const secretLooking = /(^|[^A-Za-z0-9])(sk|rk|pk|whsec)_/;

/** 'a list of 3', '"cus_1"', 'a string of 16 characters with "@"'. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null || typeof value === 'boolean' || typeof value === 'number') return String(value);
  if (typeof value === 'string') return describeString(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'an invalid date' : value.toISOString();
  return describeType(value);
}

/** As `describeValue`, but the type alone: for what is inside a customer. */
export function describeType(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (value instanceof Date) return 'a date';
  if (typeof value === 'object') {
    const bsonType =
      '_bsontype' in value && typeof value._bsontype === 'string' ? value._bsontype : undefined;
    return bsonType !== undefined && /^[A-Za-z0-9]{1,20}$/.test(bsonType)
      ? `a value of type ${bsonType}`
      : 'an object';
  }
  return `a ${typeof value}`;
}

function describeString(value: string): string {
  if (secretLooking.test(value)) return `a string of ${value.length} characters`;
  const odd = oddCharacter.exec(value)?.[0];
  if (odd !== undefined) return `a string of ${value.length} characters with ${JSON.stringify(odd)}`;
  if (value.length <= longest) return JSON.stringify(value);
  return `${JSON.stringify(`${value.slice(0, longest)}…`)} (${value.length} characters)`;
}
