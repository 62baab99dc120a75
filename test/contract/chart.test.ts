// The chart beside the product: it knows every setting, refuses what does not exist, and names what the image really holds.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { settings } from '../../src/config/settings.js';

interface Schema {
  type?: string;
  anyOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  description?: string;
}

const read = (path: string): string =>
  readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');
const chart = 'helm/stripe-mongo-sync';
const schema = JSON.parse(read(`${chart}/values.schema.json`)) as Schema;
const values = parse(read(`${chart}/values.yaml`)) as Record<string, unknown>;

const isSchema = (part: boolean | Schema | undefined): part is Schema =>
  typeof part === 'object' && Object.keys(part).length > 0;

const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

describe('the schema of values', () => {
  it('has every setting but the secrets, and no other', () => {
    const pathsOf = ({ properties = {} }: Schema, prefix = ''): string[] =>
      Object.entries(properties).flatMap(([key, part]) =>
        part.properties ? pathsOf(part, `${prefix}${key}.`) : [`${prefix}${key}`],
      );

    const known = pathsOf(schema.properties?.['config'] ?? {});

    expect(known).toEqual(settings.filter(({ secret }) => !secret).map(({ path }) => path));
  });

  it('is closed: no object with keys of its own takes others', () => {
    const open: string[] = [];
    const visit = (part: Schema, path: string): void => {
      const own = Object.entries(part.properties ?? {});
      if (own.length > 0 && part.additionalProperties !== false) open.push(path);
      for (const [key, inner] of own) visit(inner, `${path}.${key}`);
      for (const inner of part.anyOf ?? []) visit(inner, path);
      if (part.items) visit(part.items, `${path}[]`);
    };

    visit(schema, 'values');

    // Of a volume and its mount the chart knows no more than the names; the rest is for Kubernetes to judge.
    expect(open).toEqual(['values.extraVolumes[]', 'values.extraVolumeMounts[]']);
  });

  it('is open only where keys are free or Kubernetes knows them better', () => {
    const open: string[] = [];
    const visit = (part: Schema, path: string): void => {
      const isFree = part.type === 'object' && part.additionalProperties !== false;
      const hasNone = Object.keys(part.properties ?? {}).length === 0;
      if (isFree && hasNone && !isSchema(part.additionalProperties)) open.push(path);
      for (const [key, inner] of Object.entries(part.properties ?? {})) visit(inner, `${path}.${key}`);
      for (const inner of part.anyOf ?? []) visit(inner, path);
      if (part.items) visit(part.items, `${path}[]`);
    };

    visit(schema, 'values');

    expect([...new Set(open.map((path) => path.replace(/^.*\./, '')))].sort()).toEqual([
      'configMapRef',
      'global',
      'matchExpressions[]',
      'metricRelabelings[]',
      'nodeAffinity',
      'podAffinity',
      'podAntiAffinity',
      'ports[]',
      'relabelings[]',
      'secretRef',
      'sysctls[]',
      'valueFrom',
      'windowsOptions',
    ]);
  });

  it('describes every value', () => {
    const undescribed = Object.entries(schema.properties ?? {}).flatMap(([key, part]) =>
      part.description !== undefined || part.properties
        ? Object.entries(part.description === undefined ? (part.properties ?? {}) : {}).flatMap(
            ([inner, { description, properties }]) =>
              description === undefined && !properties ? [`${key}.${inner}`] : [],
          )
        : [key],
    );

    expect(undescribed).toEqual([]);
  });

  it('has the values of values.yaml, and values.yaml has its', () => {
    const inSchema = (path: string, part: Schema | undefined, given: unknown): string[] => {
      if (!part) return [path];
      if (!part.properties || !isMapping(given)) return [];
      return Object.entries(given).flatMap(([key, value]) =>
        inSchema(`${path}.${key}`, part.properties?.[key], value),
      );
    };

    expect(inSchema('values', schema, values)).toEqual([]);
    expect(['global', ...Object.keys(values)].sort()).toEqual(Object.keys(schema.properties ?? {}).sort());
  });

  it('holds no pattern for a secret, as Helm prints what does not match', () => {
    const { stripe, mongodb, migrate } = schema.properties ?? {};

    for (const secret of [
      stripe?.properties?.['apiKey'],
      mongodb?.properties?.['uri'],
      migrate?.properties?.['mongodb']?.properties?.['uri'],
    ]) {
      expect(secret).toMatchObject({ type: 'string' });
      expect(secret).not.toHaveProperty('pattern');
    }
  });
});

describe('the chart', () => {
  it('waits longer for the daemon to listen than the daemon waits for MongoDB', () => {
    const { failureThreshold, periodSeconds } = values['startupProbe'] as Record<string, number>;
    const defaults = parse(read('config/default.yaml')) as { mongodb: { connectDeadlineMs: number } };

    expect((failureThreshold ?? 0) * (periodSeconds ?? 0) * 1_000).toBeGreaterThan(
      defaults.mongodb.connectDeadlineMs,
    );
  });

  it('is of the version of the package', () => {
    const { version } = JSON.parse(read('package.json')) as { version: string };

    expect(parse(read(`${chart}/Chart.yaml`))).toMatchObject({ appVersion: version });
  });

  it('runs as the user of the image, and the command line where the image has it', () => {
    const dockerfile = read('Dockerfile');
    const main = /^ENTRYPOINT \["node", "(.*)"\]$/m.exec(dockerfile)?.[1] ?? 'an entrypoint';
    const [, user, group] = /^USER (\d+):(\d+)$/m.exec(dockerfile) ?? [];

    expect(read(`${chart}/templates/tests/request.yaml`)).toContain(`args: [${main}, `);
    expect(read(`${chart}/templates/NOTES.txt`)).toContain(`node ${main} sync-all`);
    expect(values['podSecurityContext']).toMatchObject({
      runAsUser: Number(user),
      runAsGroup: Number(group),
    });
  });
});
