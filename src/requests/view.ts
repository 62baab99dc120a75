// A request as commands show it. Anybody may have written anything into it, so fields of an unexpected type
// are omitted.
import { mongo } from 'mongoose';
import { z } from 'zod';
import { outcomes } from '../sync/outcome.js';
import { requestStatuses, type SyncRequestDocument } from './request.js';

/** A request without what may be large or personal: it is read often. */
export type RequestView = Omit<SyncRequestDocument, 'batch' | 'ids'>;

/** What a line about a request needs, without items, ids and batch. */
export const rowProjection = {
  command: 1,
  status: 1,
  attempts: 1,
  maxAttempts: 1,
  runAt: 1,
  dryRun: 1,
  requestedBy: 1,
  cancel: 1,
  createdAt: 1,
  startedAt: 1,
  finishedAt: 1,
  waitsFor: 1,
  coalescedInto: 1,
  lease: 1,
  progress: 1,
  'error.code': 1,
  'error.message': 1,
  'error.cause': 1,
  ...Object.fromEntries([...outcomes, 'removalsHeld'].map((name) => [`result.${name}`, 1] as const)),
  // Tells why it waits for its next attempt.
  history: { $cond: [{ $isArray: '$history' }, { $slice: ['$history', -1] }, []] },
} as const;

const longestText = 256;
const text = z.string().transform((value) => value.slice(0, longestText));
const message = z.string().transform((value) => value.slice(0, 2_000));
const number = z.number();
/** Users choose the type of `_id`; these two can be typed. */
const id = z.union([z.instanceof(mongo.ObjectId), text]);

const report = z.object({
  code: text,
  message: message.default(''),
  requestId: text.optional(),
  statusCode: number.optional(),
});
const error = z.object({
  ...report.shape,
  faults: z.array(message).optional(),
  cause: report.optional(),
});
const entry = z.object({
  attempt: number,
  startedAt: z.date(),
  finishedAt: z.date(),
  owner: text,
  error: report.optional(),
});
const item = z.object({
  id: text,
  outcome: z.enum(outcomes),
  code: text.optional(),
  message: message.optional(),
});
const result = z.object({
  ...Object.fromEntries(outcomes.map((outcome) => [outcome, number])),
  items: z.array(item).catch([]),
  removalsHeld: number.optional(),
});
const progress = z.object({
  done: number,
  estimated: number.optional(),
  ratio: number.optional(),
  perSecond: number.optional(),
  etaSeconds: number.optional(),
  updatedAt: z.date(),
});
const inserted = z.object({
  token: z.string().max(4_096).optional(),
  at: z.date().optional(),
  before: z.date().optional(),
  seal: text,
});
const lease = z.object({ owner: text, fence: number, expiresAt: z.date().optional() });

const ifSound = <S extends z.ZodType>(schema: S) => schema.optional().catch(undefined);

const viewSchema = z.object({
  command: text.catch('?'),
  status: ifSound(z.enum(requestStatuses)),
  attempts: ifSound(number),
  maxAttempts: ifSound(number),
  runAt: ifSound(z.date()),
  dedupeKey: ifSound(text),
  dryRun: ifSound(z.boolean()),
  requestedBy: ifSound(text),
  cancel: ifSound(z.boolean()),
  stripeId: ifSound(text),
  observedAt: ifSound(z.date()),
  inserted: ifSound(inserted),
  createdAt: ifSound(z.date()),
  startedAt: ifSound(z.date()),
  finishedAt: ifSound(z.date()),
  expireAt: ifSound(z.date()),
  waitsFor: ifSound(id),
  coalescedInto: ifSound(id),
  history: ifSound(z.array(entry)),
  lease: ifSound(lease),
  progress: ifSound(progress),
  result: ifSound(result),
  error: ifSound(error),
});

/** The part of a stored request that can be shown. */
export function soundView(document: { readonly _id: unknown }): RequestView {
  const parsed = Object.entries(viewSchema.parse(document)).filter(([, value]) => value !== undefined);
  // Every field was parsed above as what its type says; an `_id` of another type than ObjectId is only
  // printed.
  return { _id: document._id, ...Object.fromEntries(parsed) } as RequestView;
}

/** When it was inserted, as recorded by a daemon, otherwise by its ObjectId. */
export function insertedAt({ _id, createdAt }: RequestView): Date | undefined {
  if (createdAt) return createdAt;
  return (_id as unknown) instanceof mongo.ObjectId ? _id.getTimestamp() : undefined;
}

/** A name of the request that can be typed again. */
export const idOf = ({ _id }: Pick<RequestView, '_id'>): string => String(_id);
