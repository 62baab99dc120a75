// The validator that MongoDB applies to inserted requests, generated from the union in commands.ts. It only
// gives users early feedback. Nothing relies on it, because every request is parsed again when it is claimed.
import { mongo } from 'mongoose';
import type { Config } from '../config/schema.js';
import { type Change, isUnauthorized } from '../mongo/collections.js';
import { isDuplicateKey, persistently } from '../mongo/faults.js';
import { type OurDatabase, type StateDocument, stateIds, stateOf } from '../mongo/sync-state.js';
import { type JsonSchema, requestUnion } from './json-schema.js';
import { requestStatuses } from './request.js';

/**
 * To be raised with every change of the rules: a daemon replaces older ones and leaves newer ones alone. A
 * rule may only refuse what every version refuses, and must let pass whatever any version writes.
 */
export const validatorVersion = 2;

/** How the title of every version's validator begins; others are a user's own. */
const validatorTitle = 'Request of stripe-mongo-sync';

interface Branch {
  readonly command: string;
  readonly description: string;
  readonly properties: Readonly<Record<string, JsonSchema>>;
  readonly required: readonly string[];
}

/**
 * `$jsonSchema` of what is stored: what users insert, and what daemons make of it.
 * - The options have their types, always: no daemon writes another there.
 * - A command that is known has its fields, until a daemon has held the request (`lease`): after that a batch
 *   may be ids, or a word on its size.
 * - Everything else passes: other commands, of another version; fields of users; what the daemon writes.
 */
export function requestValidator(): mongo.BSON.Document {
  const branches = branchesOf(requestUnion);
  const [first] = branches;
  const optionNames = Object.keys(first?.properties ?? {}).filter(
    (name) => name !== 'command' && branches.every(({ properties }) => name in properties),
  );
  const options = Object.fromEntries(
    optionNames.map((name) => [name, bsonOf(first?.properties[name] ?? {})]),
  );
  return {
    $jsonSchema: {
      title: `${validatorTitle}, rules ${validatorVersion}`,
      description: 'See docs/requests.md of stripe-mongo-sync',
      bsonType: 'object',
      required: ['command'],
      properties: {
        command: {
          bsonType: 'string',
          description: `The command: ${branches.map(({ command }) => command).join(', ')}, or one of another version`,
        },
        ...options,
      },
      allOf: [statusRule, ...branches.flatMap((branch) => commandRule(branch, optionNames))],
    },
  };
}

const wasHeld = {
  title: 'A request that a daemon has held',
  required: ['lease'],
  properties: { lease: { bsonType: 'object' } },
};

const statusText = `status is left out, or one of ${requestStatuses.join(', ')}`;
const statusRule = {
  title: 'status',
  description: statusText,
  anyOf: [wasHeld, { properties: { status: { enum: [null, ...requestStatuses], description: statusText } } }],
};

function commandRule(
  { command, description, properties, required }: Branch,
  optionNames: readonly string[],
): mongo.BSON.Document[] {
  const own = Object.keys(properties).filter((name) => name !== 'command' && !optionNames.includes(name));
  if (own.length === 0) return [];
  return [
    {
      title: command,
      description,
      anyOf: [
        { title: 'Another command', properties: { command: { not: { enum: [command] } } } },
        wasHeld,
        {
          title: `A ${command}`,
          required: required.filter((name) => own.includes(name)),
          properties: Object.fromEntries(own.map((name) => [name, bsonOf(properties[name] ?? {})])),
        },
      ],
    },
  ];
}

/** zod alone writes the union, from commands.ts, so its form is known here. */
function branchesOf({ oneOf }: JsonSchema): readonly Branch[] {
  return (oneOf as readonly JsonSchema[]).map((branch) => {
    const properties = branch['properties'] as Branch['properties'];
    return {
      command: String(properties['command']?.['const']),
      description: String(branch['description']),
      properties,
      required: branch['required'] as readonly string[],
    };
  });
}

/** A schema in MongoDB's dialect. */
type BsonSchema = Readonly<Record<string, unknown>>;

const bsonTypes: Readonly<Record<string, readonly string[]>> = {
  string: ['string'],
  integer: ['int', 'long', 'double'],
  number: ['int', 'long', 'double'],
  boolean: ['bool'],
  object: ['object'],
  array: ['array'],
  null: ['null'],
};

/**
 * Keywords that MongoDB takes as JSON Schema has them:
 * https://www.mongodb.com/docs/manual/reference/operator/query/jsonSchema/
 */
const sameKeywords = [
  'description',
  'enum',
  'required',
  'minItems',
  'maxItems',
  'minLength',
  'maxLength',
  'minimum',
  'maximum',
];

/**
 * Translates a schema of zod's to MongoDB's dialect. @throws TypeError where it has a keyword that nobody has
 * translated yet
 */
function bsonOf(schema: JsonSchema): BsonSchema {
  const bson: Record<string, unknown> = {};
  for (const [keyword, value] of Object.entries(schema)) {
    if (sameKeywords.includes(keyword)) bson[keyword] = value;
    else if (keyword === 'pattern') bson[keyword] = anchored(String(value));
    else if (keyword === 'items') bson[keyword] = bsonOf(value as JsonSchema);
    else if (keyword === 'properties') bson[keyword] = mapValues(value as Record<string, JsonSchema>, bsonOf);
    else if (keyword === 'anyOf') Object.assign(bson, orNull(value as readonly JsonSchema[]));
    else if (keyword === 'type') Object.assign(bson, typeOf(schema));
    else if (!isLeftOut(keyword, value)) throw new TypeError(`Nobody has translated ${keyword} to MongoDB`);
  }
  return bson;
}

/** The format of a date is in `bsonType`. An `additionalProperties` that accepts anything has no effect. */
const isLeftOut = (keyword: string, value: unknown): boolean =>
  ['bsonType', 'format'].includes(keyword) ||
  (keyword === 'additionalProperties' && JSON.stringify(value) === '{}');

function typeOf({ type, bsonType }: JsonSchema): BsonSchema {
  const names = [type].flat().map(String);
  const own = bsonType === undefined ? undefined : [bsonType].flat();
  return {
    bsonType: own ?? names.flatMap((name) => bsonTypes[name] ?? [name]),
    // MongoDB has no type for whole numbers of any size.
    ...(names.includes('integer') && { multipleOf: 1 }),
  };
}

/** A nullable schema as one schema, so that its message is one sentence instead of two alternatives. */
function orNull(alternatives: readonly JsonSchema[]): BsonSchema {
  const [only = {}, ...others] = alternatives.filter(({ type }) => type !== 'null').map(bsonOf);
  if (others.length > 0) throw new TypeError("A union has no translation to MongoDB's dialect");
  const values = only['enum'] as readonly unknown[] | undefined; // as zod writes it
  return {
    ...only,
    ...(values && { enum: [...values, null] }),
    bsonType: [...[only['bsonType']].flat(), 'null'],
  };
}

/** In PCRE `$` matches before a line break at the end, too. A `^` may only negate a class. */
function anchored(pattern: string): string {
  const inner = /^\^((?:[^^$]|\[\^)*)\$$/.exec(pattern)?.[1];
  if (inner === undefined) throw new TypeError(`The pattern ${pattern} must begin with ^ and end with $`);
  return `\\A${inner}\\z`;
}

const mapValues = <V, W>(record: Readonly<Record<string, V>>, map: (value: V) => W): Record<string, W> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));

// Sets the validator of the requests. Daemons of several versions and settings agree on it through one
// document of the state, so none undoes the change of a newer one.
export type ValidationSetting = Config['requests']['validation'];

/** The validator that the collection should have. Rules are extended JSON because they are full of `$`. */
interface Validation {
  readonly version: number;
  readonly validation: ValidationSetting;
  readonly rules: string;
}

/** Others may change it concurrently; each of them checks again, too. */
const maxRounds = 5;

/**
 * Brings the validator in line with the setting, unless a newer version has been there. The collection must
 * exist. A user without the right is no fault: `refused`, with a note. A validator that is the user's own is
 * `left alone`.
 * @throws Fault `mongodb_rejected`, `mongodb_unavailable`
 */
export async function ensureRequestValidator(
  database: OurDatabase,
  validation: ValidationSetting,
  version = validatorVersion,
): Promise<Change> {
  const rules = mongo.BSON.EJSON.stringify(requestValidator());
  const what = `validator of ${database.names.requests}`;
  const align = () => alignWith(database, { version, validation, rules });
  try {
    return { what, ...(await persistently(`setting the ${what}`, align, { withinMs: 10_000 })) };
  } catch (error) {
    if (!(error instanceof Error) || !isUnauthorized(error.cause)) throw error;
    return { what, outcome: 'refused', note: 'MongoDB does not let this user read or change it' };
  }
}

async function alignWith(database: OurDatabase, ours: Validation): Promise<Omit<Change, 'what'>> {
  let outcome: Change['outcome'] = 'unchanged';
  let agreed = await agree(database, ours);
  for (let round = 0; round < maxRounds; round += 1) {
    const before = await currentRules(database);
    if (before.isForeign && ours.validation === 'off') return { outcome };
    if (before.isForeign) return { outcome: 'left alone', note: 'it has one that is not of this service' };
    if (before.text !== textOf(agreed)) {
      await database.db.command({ collMod: database.names.requests, ...optionsOf(agreed) });
      outcome = before.isNone ? 'created' : 'changed';
    }
    const after = await readAgreed(database);
    if (!after || textOf(after) === textOf(agreed)) break;
    // Another replica has agreed on a different validator since, so the one just written is out of date.
    agreed = after;
  }
  if (agreed.version > ours.version && outcome === 'unchanged') {
    return { outcome: 'left alone', note: `a newer version has set it (rules ${agreed.version})` };
  }
  return { outcome };
}

/** Writes ours to the state unless a newer one is there; returns what is agreed on. */
async function agree(database: OurDatabase, ours: Validation): Promise<Validation> {
  const state: mongo.Collection<StateDocument> = stateOf(database);
  for (;;) {
    const found = await readAgreed(database);
    if (found && (found.version > ours.version || isEqual(found, ours))) return found;
    try {
      const notNewer = { _id: stateIds.requestsValidator, version: { $not: { $gt: ours.version } } };
      await state.updateOne(notNewer, { $set: { ...ours } }, { upsert: true });
      return ours;
    } catch (error) {
      // A newer one came in between, or the first of all.
      if (!isDuplicateKey(error)) throw error;
    }
  }
}

async function readAgreed(database: OurDatabase): Promise<Validation | undefined> {
  const found = await stateOf(database).findOne({ _id: stateIds.requestsValidator });
  // Only this file writes it.
  return found ? (found as unknown as Validation) : undefined;
}

const isEqual = (a: Validation, b: Validation): boolean =>
  a.version === b.version && a.validation === b.validation && a.rules === b.rules;

/** `moderate`: what is invalid already can still be updated, to `failed` above all. */
function optionsOf({ validation, rules }: Validation): mongo.BSON.Document {
  if (validation === 'off') return { validator: {}, validationLevel: 'off' };
  return {
    validator: mongo.BSON.EJSON.parse(rules) as mongo.BSON.Document, // written by EJSON.stringify above
    validationLevel: 'moderate',
    validationAction: validation,
  };
}

const noRules = 'off';

const textOf = (agreed: Validation): string =>
  agreed.validation === 'off' ? noRules : mongo.BSON.EJSON.stringify(optionsOf(agreed));

interface CurrentRules {
  /** In the form of `textOf`. */
  readonly text: string;
  readonly isNone: boolean;
  readonly isForeign: boolean;
}

async function currentRules(database: OurDatabase): Promise<CurrentRules> {
  const [found] = await database.db
    .listCollections({ name: database.names.requests }, { nameOnly: false })
    .toArray();
  const { validator = {}, validationLevel, validationAction } = optionsFound(found);
  if (Object.keys(validator).length === 0) return { text: noRules, isNone: true, isForeign: false };
  const title = validator.$jsonSchema?.title;
  const isForeign = typeof title !== 'string' || !title.startsWith(validatorTitle);
  const text = mongo.BSON.EJSON.stringify({ validator, validationLevel, validationAction });
  return { text, isNone: false, isForeign };
}

interface CollectionOptions {
  readonly validator?: { readonly $jsonSchema?: { readonly title?: unknown } };
  readonly validationLevel?: unknown;
  readonly validationAction?: unknown;
}

const optionsFound = (found: unknown): CollectionOptions =>
  (found as { readonly options?: CollectionOptions } | undefined)?.options ?? {}; // as listCollections answers
