// The settings as a list: path, environment variable, type. Derived from the schema, so a setting is declared
// once.
import { z } from 'zod';
import { configSchema, type SettingPath, settingTraits, type SettingTraits } from './schema.js';

export interface Setting extends SettingTraits {
  /** `stripe.callsPerSecond` */
  readonly path: SettingPath;
  /** `stripe`, or `mongodb.collections` within a section */
  readonly section: string;
  /** `callsPerSecond` */
  readonly key: string;
  /** `STRIPE_CALLS_PER_SECOND` */
  readonly env: string;
  readonly schema: z.ZodType;
}

/** Environment variable of a path, or prefix of a section: `syncAll.schedule` is `SYNC_ALL_SCHEDULE`. */
export const envName = (path: string): string =>
  path
    .replace(/[A-Z]/g, (letter) => `_${letter}`)
    .replaceAll('.', '_')
    .toUpperCase();

/** Every setting, in the order of the schema. */
export const settings: readonly Setting[] = settingsIn(configSchema, '');

function settingsIn({ shape }: z.ZodObject, section: string): readonly Setting[] {
  return Object.entries(shape).flatMap(([key, schema]) => {
    const path = section === '' ? key : `${section}.${key}`;
    if (schema instanceof z.ZodObject) return settingsIn(schema, path);
    const settled = schema as z.ZodType; // the keys of a shape have schemas
    const traits = settingTraits.get(settled);
    if (!traits) throw new TypeError(`${path} has no traits in config/schema.ts`);
    // SettingPath has the keys of this schema.
    return [{ ...traits, path: path as SettingPath, section, key, env: envName(path), schema: settled }];
  });
}

/** The value at a setting's path; undefined where the configuration has none. */
export const valueAt = (config: unknown, path: string): unknown =>
  path
    .split('.')
    .reduce<unknown>((part, key) => (part as Readonly<Record<string, unknown>> | undefined)?.[key], config); // a mapping of settings

const spelledNumber = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i;

/** Parses a string as the setting's type. An unparsable string is kept, and the schema refuses it. */
function coerce(setting: Setting, value: unknown): unknown {
  if (typeof value !== 'string') return value;
  if (setting.kind === 'number' && spelledNumber.test(value)) return Number(value);
  if (setting.kind === 'flag' && (value === 'true' || value === 'false')) return value === 'true';
  return value;
}

export type ParsedSetting =
  | { readonly kind: 'valid'; readonly value: unknown }
  | { readonly kind: 'invalid'; readonly value?: undefined };

/**
 * Parses a value from any source, without surrounding white space. `null`, an empty value in YAML, counts as
 * empty.
 */
export function parseSetting(setting: Setting, given: unknown): ParsedSetting {
  // White space may be part of a secret, so it is reported instead of removed.
  const value = typeof given === 'string' && !setting.secret ? given.trim() : given;
  if (value === null || value === '') {
    return setting.mayBeEmpty ? { kind: 'valid', value: '' } : { kind: 'invalid' };
  }
  const parsed = setting.schema.safeParse(coerce(setting, value));
  return parsed.success ? { kind: 'valid', value: parsed.data } : { kind: 'invalid' };
}

/** Number of single-character edits between two words (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let index = 0; index < a.length; index += 1) {
    const next = [index + 1];
    for (let column = 0; column < b.length; column += 1) {
      const replaced = (row[column] ?? 0) + (a[index] === b[column] ? 0 : 1);
      next.push(Math.min(replaced, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

const simplified = (name: string): string => name.replace(/[^A-Za-z0-9]/g, '').toLowerCase();

/**
 * The candidate most similar to `name`: at most a third of its letters differ, or it only lacks the end
 * (`LEASE` of `LEASE_MS`). Case and separators do not count. Undefined if none is similar.
 */
export function nearest(name: string, candidates: readonly string[]): string | undefined {
  const wanted = simplified(name);
  let best: { candidate: string; distance: number } | undefined;
  for (const candidate of candidates) {
    const other = simplified(candidate);
    const isCut = wanted.length >= 4 && other.startsWith(wanted);
    const distance = isCut ? 0 : editDistance(wanted, other);
    if (!best || distance < best.distance) best = { candidate, distance };
  }
  return best && best.distance <= Math.max(1, Math.floor(wanted.length / 3)) ? best.candidate : undefined;
}
