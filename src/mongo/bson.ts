// Objects from JSON as BSON, whatever their keys are.
import { mongo } from 'mongoose';

const isPlain = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;

/**
 * The same value with a Map in place of each object that has a key `_bsontype`. The encoder takes such an
 * object for a type of its own, and refuses it; a Map is encoded by its keys, whatever they are.
 */
export function withoutBsonTypes<T>(value: T): T {
  const converted = isPlain(value)
    ? convertedObject(value)
    : Array.isArray(value)
      ? convertedList(value)
      : value;
  return converted as T; // of the same shape for the encoder
}

function convertedObject(object: Record<string, unknown>): unknown {
  const entries = Object.entries(object).map(([key, field]) => [key, withoutBsonTypes(field)] as const);
  if (Object.hasOwn(object, '_bsontype')) return new Map(entries);
  return entries.every(([key, field]) => field === object[key]) ? object : Object.fromEntries(entries);
}

function convertedList(list: readonly unknown[]): unknown {
  const items = list.map(withoutBsonTypes);
  return items.every((item, at) => item === list[at]) ? list : items;
}

/** Whether an object in the value has a key with NUL, which BSON cannot store. */
export function hasNulKey(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(hasNulKey);
  if (value instanceof Map) return hasNulKey(Object.fromEntries(value));
  if (!isPlain(value)) return false;
  return Object.entries(value).some(([key, field]) => key.includes('\0') || hasNulKey(field));
}

/** Size of the object as BSON, in bytes. @throws BSONError if BSON cannot store it */
export function bsonBytes(object: object): number {
  try {
    return mongo.BSON.calculateObjectSize(object);
  } catch {
    return mongo.BSON.serialize(withoutBsonTypes(object)).length;
  }
}
