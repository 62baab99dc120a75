// What `npm run docs` writes for the Helm chart: values.schema.json, the list of settings in values.yaml, and the chart's copy of the
// defaults, from which its templates know them.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isMap, isScalar, parseDocument, type YAMLMap } from 'yaml';
import { z } from 'zod';
import type { Setting } from '../src/config/settings.js';
import { chartValues } from './chart-values.js';
import { commentAbove } from './yaml-comments.js';

/** A setting with its comment and default in default.yaml. */
interface Described {
  readonly setting: Setting;
  readonly meaning: string;
  readonly preset: string;
}

interface JsonSchema {
  [keyword: string]: unknown;
  properties?: Record<string, JsonSchema> | undefined;
}

type Section = JsonSchema & { properties: Record<string, JsonSchema> };

const root = new URL('../', import.meta.url);
const read = (name: string): string => readFileSync(fileURLToPath(new URL(name, root)), 'utf8');
const folder = 'helm/stripe-mongo-sync/';
const valuesFile = `${folder}values.yaml`;

/** Every generated file of the chart with what it should hold; JSON still to be formatted. */
export function chartFiles(described: readonly Described[]): Map<string, string> {
  const inFile = described.filter(({ setting }) => !setting.secret);
  return new Map([
    [`${folder}values.schema.json`, JSON.stringify(valuesSchema(inFile), null, 2)],
    [valuesFile, withSettings(read(valuesFile), inFile)],
    [`${folder}files/default.yaml`, read('config/default.yaml')],
  ]);
}

/** The schema of all values: closed, none required, as values.yaml gives those that a user does not. */
function valuesSchema(described: readonly Described[]): JsonSchema {
  const properties = Object.fromEntries(
    Object.entries(chartValues).map(([key, type]) => [key, jsonSchema(type)]),
  );
  const { contents } = parseDocument(read(valuesFile));
  if (!isMap(contents)) throw new TypeError(`${valuesFile} must be a mapping`);
  const schema = {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Values of the chart stripe-mongo-sync',
    type: 'object',
    properties: {
      // Helm hands every chart those of the chart it is part of.
      global: { type: 'object', description: 'Values of a chart that this one is part of; none is used' },
      ...properties,
      config: configSchema(described),
    },
    additionalProperties: false,
  };
  describe(schema, contents);
  return schema;
}

function jsonSchema(type: z.ZodType): JsonSchema {
  const { $schema: _, ...made } = z.toJSONSchema(type, {
    target: 'draft-7',
    io: 'input',
    override: ({ jsonSchema: part }) => {
      // Safe integers go without saying, and keys of mappings are strings.
      if (part.maximum === Number.MAX_SAFE_INTEGER) delete part.maximum;
      if (part.minimum === Number.MIN_SAFE_INTEGER) delete part.minimum;
      delete part.propertyNames;
    },
  });
  return withoutRequired(made as JsonSchema); // zod writes no booleans for schemas of properties
}

/** Of what values.yaml fills in nothing is required. Within lists, which replace those of values.yaml, it is. */
function withoutRequired({ required: _, ...schema }: JsonSchema): JsonSchema {
  if (!schema.properties) return schema;
  const entries = Object.entries(schema.properties);
  return {
    ...schema,
    properties: Object.fromEntries(entries.map(([key, part]) => [key, withoutRequired(part)])),
  };
}

function configSchema(described: readonly Described[]): JsonSchema {
  const closed = (): Section => ({ type: 'object', additionalProperties: false, properties: {} });
  const all = closed();
  for (const { setting, meaning } of described) {
    let part = all;
    for (const key of setting.section.split('.')) part = (part.properties[key] ??= closed()) as Section; // only this function makes them
    part.properties[setting.key] = {
      description: `${meaning} Must be ${setting.allowed}.`,
      ...jsonSchema(setting.schema),
    };
  }
  // A Service cannot be told of a port that is found out at start.
  const port = all.properties['http']?.properties?.['port'];
  if (port) port['minimum'] = 1;
  return all;
}

/** Adds to every value its comment in values.yaml: what follows ` -- `. */
function describe(schema: JsonSchema, values: YAMLMap): void {
  for (const pair of values.items) {
    const part = isScalar(pair.key) ? schema.properties?.[String(pair.key.value)] : undefined;
    if (!part) continue;
    const text = /(?:^|\n) -- (.*)/.exec(commentAbove(values, pair) ?? '')?.[1];
    if (text !== undefined) part['description'] = text;
    if (isMap(pair.value)) describe(part, pair.value);
  }
}

const markers = { start: '# settings:start', end: '# settings:end' };

/** values.yaml with every setting, as comments, between its markers. */
function withSettings(values: string, described: readonly Described[]): string {
  const [start, end] = [values.indexOf(markers.start), values.indexOf(markers.end)];
  if (start < 0 || end < start)
    throw new TypeError(`${valuesFile} must have the lines ${markers.start} and ${markers.end}`);
  const lines: string[] = [];
  let open: readonly string[] = [];
  for (const { setting, meaning, preset } of described) {
    const sections = setting.section.split('.');
    for (const [depth, key] of sections.entries()) {
      if (open[depth] !== key) lines.push(`${'  '.repeat(depth + 1)}${key}:`);
    }
    open = sections;
    const indent = '  '.repeat(sections.length + 1);
    lines.push(`${indent}# ${meaning}`, `${indent}${setting.key}: ${preset === '' ? "''" : preset}`);
  }
  const block = lines.map((line) => `# ${line}`.trimEnd()).join('\n');
  return `${values.slice(0, start)}${markers.start}\n${block}\n${values.slice(end)}`;
}
