// The workflows of GitHub call only scripts that there are, and are as careful with rights and time as they should be.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';

interface Step {
  uses?: string;
  run?: string;
  with?: Record<string, unknown>;
}

interface Workflow {
  permissions?: Record<string, string>;
  concurrency?: unknown;
  jobs: Record<string, { 'timeout-minutes'?: number; permissions?: Record<string, string>; steps: Step[] }>;
}

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
const folder = '.github/workflows';
const names = readdirSync(new URL(folder, root));

describe.each(names)('%s', (name) => {
  const { permissions, concurrency, jobs } = parse(read(`${folder}/${name}`)) as Workflow;
  const steps = Object.values(jobs).flatMap((job) => job.steps);
  const lines = steps.flatMap(({ run = '' }) => run.split('\n'));

  test('calls only scripts that there are', () => {
    const npm = lines.flatMap((line) => [...line.matchAll(/npm (?:run ([\w:]+)|(test)\b)/g)]);
    const files = lines.flatMap((line) => [...line.matchAll(/(?:bash |helm package )(\S+)/g)]);

    expect(npm.map(([, run, own]) => run ?? own ?? '').filter((script) => !(script in scripts))).toEqual([]);
    expect(files.map(([, path = '']) => path).filter((path) => !existsSync(new URL(path, root)))).toEqual([]);
  });

  test('may only read, but where it publishes, and ends in time', () => {
    const rights = Object.values(jobs).flatMap((job) => Object.entries(job.permissions ?? {}));

    expect(permissions).toEqual({ contents: 'read' });
    expect(new Set(rights.filter(([, right]) => right === 'write').map(([what]) => what))).toEqual(
      new Set(name === 'release.yml' ? ['packages', 'id-token'] : []),
    );
    expect(concurrency).toBeDefined();
    for (const [job, { 'timeout-minutes': minutes }] of Object.entries(jobs)) {
      expect(minutes, job).toBeGreaterThan(0);
    }
  });

  test('pins its actions, and leaves no credentials in the checkout', () => {
    const actions = steps.flatMap(({ uses }) => (uses === undefined ? [] : [uses]));
    const checkouts = steps.filter(({ uses }) => uses?.startsWith('actions/checkout@'));

    expect(actions.filter((action) => !/@v\d+(?:\.\d+\.\d+)?$/.test(action))).toEqual([]);
    for (const { with: options } of checkouts) expect(options?.['persist-credentials']).toBe(false);
  });

  test('hands nothing of an event to a shell but through the environment', () => {
    expect(lines.filter((line) => line.includes('${{'))).toEqual([]);
  });
});

test('both run everything that a change must pass', () => {
  expect(names.sort()).toEqual(['ci.yml', 'release.yml']);
  for (const name of names) expect(read(`${folder}/${name}`)).toContain('run: bash .ci/run');
});
