// The commands that a request can give, and the schema of a request. The union here is the single source of
// truth. A new command is one schema, one lane and one case in `commandOf`.
import { mongo } from 'mongoose';
import { z } from 'zod';
import { mainResource, objectNames } from '../resources/registry.js';
import { type StripeId, stripeIdPattern, type StripeObject } from '../sync/ports.js';
import { earliestOf, type InsertionOrder } from '../sync/telling.js';
import { type CommandInput, maxAttemptsLimit, maxEntries, maxTextLength } from './request.js';

/**
 * The input of the runner. Ids are validated and unique. Entries of a batch have an id; their other fields
 * are validated one by one at run time.
 */
export type SyncCommand = {
  /** Stripe's name of the kind of object that it is about. */
  readonly object: string;
} & (
  | { readonly command: 'syncAll' }
  | { readonly command: 'syncByIds'; readonly ids: readonly StripeId[] }
  | {
      readonly command: 'syncBatch';
      readonly batch: readonly StripeObject[];
      readonly observedAt: Date | undefined;
    }
  | { readonly command: 'softDelete'; readonly stripeId: StripeId }
  /**
   * `request` is the `_id` of the scan's request, or the name of a scan without one. An ObjectId is given as
   * its hexadecimal digits.
   */
  | { readonly command: 'approveRemovals'; readonly request: string }
);

export type CommandName = SyncCommand['command'];

/** Only one scan runs at a time over all replicas; everything else runs beside it. */
export const laneNames = ['small', 'scan'] as const;
export type LaneName = (typeof laneNames)[number];

/** The lane that each command runs in. */
export const laneOf = {
  syncAll: 'scan',
  syncByIds: 'small',
  syncBatch: 'small',
  softDelete: 'small',
  approveRemovals: 'scan',
} as const satisfies Record<CommandName, LaneName>;

// Keys of the object above, which the compiler holds complete.
export const commandNames = Object.keys(laneOf) as readonly CommandName[];

export const commandsOf = (lane: LaneName): readonly CommandName[] =>
  commandNames.filter((name) => laneOf[name] === lane);

const upperFirst = (sentence: string): string => sentence.slice(0, 1).toUpperCase() + sentence.slice(1);

const idText = 'an id such as cus_123 (1 to 255 letters, digits, _ or -)';
const idsText = `a list of 1 to ${maxEntries} ids`;
const batchText = `a list of 1 to ${maxEntries} objects`;
const entryText = 'an object with an id';
const attemptsText = `a whole number from 1 to ${maxAttemptsLimit}`;
const text = (max: number) =>
  z.string(`a text of at most ${max} characters`).max(max, `a text of at most ${max} characters`);
const flag = z.boolean('true or false');
// Types that JSON lacks carry both their JSON and their BSON form; see json-schema.ts and validator.ts.
const date = z.date('a date').meta({ type: 'string', format: 'date-time', bsonType: 'date' });
const id = z.string(idText).regex(stripeIdPattern, idText).describe(upperFirst(idText));

// Drivers of some languages write null for unset fields.
const options = {
  object: z
    .enum(objectNames, `one of ${objectNames.join(', ')}`)
    .nullish()
    .describe(`Kind of Stripe object: ${objectNames.join(', ')}; ${mainResource.object} unless given`),
  runAt: date.nullish().describe("A date: not before this time, by MongoDB's clock"),
  dedupeKey: text(maxTextLength)
    .min(1, `a text of 1 to ${maxTextLength} characters`)
    .nullish()
    .describe(
      `A text of 1 to ${maxTextLength} characters: at most one request of a key waits, runs or is kept after success`,
    ),
  maxAttempts: z
    .int(attemptsText)
    .min(1, attemptsText)
    .max(maxAttemptsLimit, attemptsText)
    .nullish()
    .describe(`${upperFirst(attemptsText)}, instead of the setting requests.maxAttempts`),
  dryRun: flag.nullish().describe('True or false: the full result, nothing written to the mirror'),
  requestedBy: text(maxTextLength)
    .nullish()
    .describe(`A text of at most ${maxTextLength} characters, free and kept`),
  cancel: flag
    .nullish()
    .describe('True or false: true ends it, a waiting one at once, a running one at its next checkpoint'),
};

const requestIdText = `the _id of a request: an ObjectId, or a text of 1 to ${maxTextLength} characters`;
const requestId = z
  .custom<mongo.ObjectId | string>(
    (value) =>
      value instanceof mongo.ObjectId ||
      (typeof value === 'string' && value.length >= 1 && value.length <= maxTextLength),
    requestIdText,
  )
  .meta({
    description: `${upperFirst(requestIdText)}, or the hexadecimal digits of an ObjectId`,
    type: 'string',
    minLength: 1,
    maxLength: maxTextLength,
    bsonType: ['objectId', 'string'],
  });

export const optionsSchema = z.object(options);

/** The fields that users write. Unknown fields belong to the user and are ignored. */
export const requestSchema = z.discriminatedUnion('command', [
  z
    .object({ command: z.literal('syncAll'), ...options })
    .describe('Pages through every object at Stripe and brings the mirror in line, removals included'),
  z
    .object({
      command: z.literal('syncByIds'),
      ids: z.array(id, idsText).min(1, idsText).max(maxEntries, idsText).describe(upperFirst(idsText)),
      ...options,
    })
    .describe('Retrieves these objects from Stripe and brings the mirror in line with each'),
  z
    .object({
      command: z.literal('syncBatch'),
      batch: z
        .array(z.looseObject({ id }, entryText).describe(upperFirst(entryText)), batchText)
        .min(1, batchText)
        .max(maxEntries, batchText)
        .describe(`${upperFirst(batchText)} as Stripe gives them, whole or in parts; at most 4 MiB`),
      observedAt: date.nullish().describe('A date: when the batch was held to be true'),
      ...options,
    })
    .describe('Takes objects that the caller holds already; no call to Stripe'),
  z
    .object({ command: z.literal('softDelete'), stripeId: id, ...options })
    .describe('Marks one object as deleted in the mirror; Stripe is not called'),
  z
    .object({ command: z.literal('approveRemovals'), request: requestId, ...options })
    .describe('Concludes the removals that a scan has held for approval'),
]);

/** The command of a request whose fields have been checked. */
export function commandOf(input: CommandInput & { readonly object?: string | null }): SyncCommand {
  const object = input.object ?? mainResource.object;
  // Ids were checked against their pattern: here they get their brand.
  switch (input.command) {
    case 'syncAll':
      return { command: input.command, object };
    case 'syncByIds':
      return { command: input.command, object, ids: [...new Set(input.ids)] as StripeId[] };
    case 'syncBatch':
      return {
        command: input.command,
        object,
        batch: input.batch as readonly StripeObject[],
        observedAt: input.observedAt ?? undefined,
      };
    case 'softDelete':
      return { command: input.command, object, stripeId: input.stripeId as StripeId };
    case 'approveRemovals':
      return { command: input.command, object, request: nameOf(input.request) };
  }
}

/** As it is typed: an ObjectId's digits in lower case. */
function nameOf(request: mongo.ObjectId | string): string {
  const name = String(request);
  return /^[0-9a-f]{24}$/i.test(name) ? name.toLowerCase() : name;
}

/**
 * As of when the entries of a batch were read from Stripe: the given time, otherwise the insertion of the
 * request; never later than the claim. All three are by the database's clock or earlier.
 */
export function observedAtOf(
  { observedAt }: { readonly observedAt: Date | undefined },
  { insertionOrder, claimedAt }: { readonly insertionOrder: InsertionOrder; readonly claimedAt: Date },
): Date {
  const given = observedAt ?? earliestOf(insertionOrder);
  return new Date(Math.min(given.getTime(), claimedAt.getTime()));
}
