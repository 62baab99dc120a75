// The JSON Schema of a request, for clients in other languages. Generated from the union in commands.ts,
// never edited by hand.
import { z } from 'zod';
import { requestSchema } from './commands.js';

/** A schema; only the parts that this project reads. */
export interface JsonSchema {
  readonly [keyword: string]: unknown;
}

/**
 * The union as zod writes it. For types that JSON lacks, dates and ObjectIds, `bsonType` is added beside
 * `type`.
 */
export const requestUnion: JsonSchema = z.toJSONSchema(requestSchema, {
  io: 'input',
  // Dates and ObjectIds say in commands.ts what they are in JSON.
  unrepresentable: 'any',
});

const isSchema = (value: unknown): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Validators that are strict refuse keywords that JSON Schema does not have. */
function withoutBson(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutBson);
  if (!isSchema(value)) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, inner]) => (key === 'bsonType' ? [] : [[key, withoutBson(inner)]])),
  );
}

const { $schema, ...union } = requestUnion;

/**
 * What may be inserted as a request, as JSON Schema (draft 2020-12). Fields that it does not name are
 * the user's own. Dates stand as texts, as JSON has them; in MongoDB they are dates. The same as
 * docs/request.schema.json.
 */
export const requestJsonSchema: JsonSchema = {
  $schema,
  title: 'Request of stripe-mongo-sync',
  description:
    'A document that is inserted into the collection of the requests (sync_requests by default). Dates are inserted as dates of MongoDB, never as texts.',
  ...(withoutBson(union) as JsonSchema), // of an object it makes an object
};
