// Puts the validator on sync_requests. Daemons of several versions and settings agree through one document of sync_state on which one it is, so
// that none undoes what a newer one has done.
import { type Connection, mongo } from 'mongoose';
import { type Change, isUnauthorized } from '../collections.js';
import type { Config } from '../config-schema.js';
import { databaseOf } from '../mongo-database.js';
import { type StateDocument, stateOf } from './collection.js';
import { requestsCollectionName } from './document.js';
import { isDuplicateKey, persistently } from '../mongo-faults.js';
import { requestValidator, validatorTitle, validatorVersion } from './validator.js';

export type ValidationSetting = Config['requests']['validation'];

const documentId = 'requests-validator';

/** What the collection shall have: rules as extended JSON, for they are full of `$`. */
interface Wanted {
  readonly version: number;
  readonly validation: ValidationSetting;
  readonly rules: string;
}

/** Others may change it meanwhile; each of them looks again, too. */
const maxRounds = 5;

/**
 * Brings the validator in line with the setting, unless a newer version has been there. The collection must exist. A user without the right is no
 * fault: `refused`, with a note. A validator that is the user's own is `left alone`.
 * @throws Fault `mongodb_rejected`, `mongodb_unavailable`
 */
export async function ensureRequestValidator(
  connection: Connection,
  validation: ValidationSetting,
  version = validatorVersion,
): Promise<Change> {
  const rules = mongo.BSON.EJSON.stringify(requestValidator());
  const what = `validator of ${requestsCollectionName}`;
  const align = () => alignWith(connection, { version, validation, rules });
  try {
    return { what, ...(await persistently(`setting the ${what}`, align, { withinMs: 10_000 })) };
  } catch (error) {
    if (!(error instanceof Error) || !isUnauthorized(error.cause)) throw error;
    return { what, outcome: 'refused', note: 'MongoDB does not let this user look at it or change it' };
  }
}

async function alignWith(connection: Connection, ours: Wanted): Promise<Omit<Change, 'what'>> {
  let outcome: Change['outcome'] = 'unchanged';
  let wanted = await agree(connection, ours);
  for (let round = 0; round < maxRounds; round += 1) {
    const before = await currentRules(connection);
    if (before.isForeign && ours.validation === 'off') return { outcome };
    if (before.isForeign) return { outcome: 'left alone', note: 'it has one that is not of this service' };
    if (before.text !== textOf(wanted)) {
      await databaseOf(connection).command({ collMod: requestsCollectionName, ...optionsOf(wanted) });
      outcome = before.isNone ? 'created' : 'changed';
    }
    const after = await readWanted(connection);
    if (!after || textOf(after) === textOf(wanted)) break;
    // Somebody has agreed on another one since: what was just written is out of date.
    wanted = after;
  }
  if (wanted.version > ours.version && outcome === 'unchanged') {
    return { outcome: 'left alone', note: `a newer version has set it (rules ${wanted.version})` };
  }
  return { outcome };
}

/** Puts ours down unless a newer one is; returns what is agreed on. */
async function agree(connection: Connection, ours: Wanted): Promise<Wanted> {
  const state: mongo.Collection<StateDocument> = stateOf(connection);
  for (;;) {
    const found = await readWanted(connection);
    if (found && (found.version > ours.version || isEqual(found, ours))) return found;
    try {
      const notNewer = { _id: documentId, version: { $not: { $gt: ours.version } } };
      await state.updateOne(notNewer, { $set: { ...ours } }, { upsert: true });
      return ours;
    } catch (error) {
      // A newer one came in between, or the first of all.
      if (!isDuplicateKey(error)) throw error;
    }
  }
}

async function readWanted(connection: Connection): Promise<Wanted | undefined> {
  const found = await stateOf(connection).findOne({ _id: documentId });
  // Only this file writes it.
  return found ? (found as unknown as Wanted) : undefined;
}

const isEqual = (a: Wanted, b: Wanted): boolean =>
  a.version === b.version && a.validation === b.validation && a.rules === b.rules;

/** `moderate`: what is invalid already can still be updated, to `failed` above all. */
function optionsOf({ validation, rules }: Wanted): mongo.BSON.Document {
  if (validation === 'off') return { validator: {}, validationLevel: 'off' };
  return {
    validator: mongo.BSON.EJSON.parse(rules) as mongo.BSON.Document, // written by EJSON.stringify above
    validationLevel: 'moderate',
    validationAction: validation,
  };
}

const noRules = 'off';

const textOf = (wanted: Wanted): string =>
  wanted.validation === 'off' ? noRules : mongo.BSON.EJSON.stringify(optionsOf(wanted));

interface CurrentRules {
  /** In the form of `textOf`. */
  readonly text: string;
  readonly isNone: boolean;
  readonly isForeign: boolean;
}

async function currentRules(connection: Connection): Promise<CurrentRules> {
  const [found] = await databaseOf(connection)
    .listCollections({ name: requestsCollectionName }, { nameOnly: false })
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
