// docs/deploy.md and the runbooks name only what exists: values of the chart, settings, files, commands and their options, lines of the log. What
// helm can judge is rendered by the real helm.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { settings } from '../../src/config/settings.js';
import { helm, render, shape } from '../support/helm.js';
import { runCommand } from '../support/run-command.js';

interface Schema {
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  items?: Schema;
}

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const chart = 'helm/stripe-mongo-sync';
const page = read('docs/deploy.md');
const schema = JSON.parse(read(`${chart}/values.schema.json`)) as Schema;

/** Blocks of code in a language, without the indentation of a list they stand in. */
function blocksOf(text: string, language: string): string[] {
  const fences = text.matchAll(new RegExp(String.raw`^( *)\`\`\`${language}\n([\s\S]*?)^ *\`\`\`$`, 'gm'));
  return [...fences].map(([, indent = '', code = '']) => code.replaceAll(new RegExp(`^${indent}`, 'gm'), ''));
}

/** Lines of shell, those that go on in the next one joined. */
const commandsOf = (text: string): string[] =>
  blocksOf(text, 'sh').flatMap((block) =>
    block
      .replaceAll(/ *\\\n */g, ' ')
      .split('\n')
      .map((line) => line.replace(/(?:^| +)# .*$/, '').trim())
      .filter((line) => line !== ''),
  );

/** Code in the midst of a sentence. */
const wordsOf = (text: string): string[] =>
  [...text.replaceAll(/^ *```[\s\S]*?^ *```$/gm, '').matchAll(/`([^`\n]+)`/g)].map(([, word = '']) => word);

const commands = commandsOf(page);
const words = wordsOf(page);
/** Values of the chart; manifests of other things have an apiVersion. */
const valuesBlocks = blocksOf(page, 'yaml').filter((block) => !/^apiVersion:/m.test(block));

/** Keys of values that the schema does not have, however deep; where it is open, any is right. */
function unknownKeys(values: unknown, part: Schema, path = ''): string[] {
  if (Array.isArray(values)) {
    return values.flatMap((value) => unknownKeys(value, part.items ?? {}, `${path}[]`));
  }
  if (typeof values !== 'object' || values === null) return [];
  return Object.entries(values).flatMap(([key, value]) => {
    const inner = part.properties?.[key];
    const innerPath = path === '' ? key : `${path}.${key}`;
    if (inner) return unknownKeys(value, inner, innerPath);
    return part.additionalProperties === false ? [innerPath] : [];
  });
}

const isValue = (path: string): boolean => {
  let part: Schema | undefined = schema;
  for (const key of path.split('.')) part = part?.properties?.[key];
  return part !== undefined;
};

const isSubset = (part: unknown, whole: unknown): boolean => {
  if (typeof part !== 'object' || part === null) return part === whole;
  if (typeof whole !== 'object' || whole === null) return false;
  return Object.entries(part).every(([key, value]) =>
    isSubset(value, (whole as Record<string, unknown>)[key]),
  );
};

const missingFiles = (text: string): string[] =>
  [...text.matchAll(/(?<![\w/.-])(?:helm|docs|src|test|bench|demo|\.ci)\/[\w./-]*[\w-]/g)]
    .map(([path]) => path)
    .filter((path) => !existsSync(join(root, path)));

/** Help of every command, which surface.test.ts compares with what the commands print. */
const help = new Map(
  read('test/contract/surface/command-line.txt')
    .split('=== stripe-mongo-sync ')
    .map((text) => [text.split(' --help')[0] ?? '', text]),
);

/** What of a call of the command line does not exist: the command, or an option. */
function faultsOfCall(call: string): string[] {
  const [command = '', ...rest] = call.split(/\s+/);
  const text = help.get(command === 'requests' ? `requests ${rest[0] ?? ''}` : command);
  if (text === undefined) return [call];
  const options = rest.filter((word) => word.startsWith('--'));
  return options.filter((option) => !new RegExp(`${option}(?![\\w-])`).test(text));
}

describe('docs/deploy.md', () => {
  test('gets to a mirror in ten commands', () => {
    const [, section = ''] = /\n## Ten commands\n([\s\S]*?)\n## /.exec(page) ?? [];
    const numbers = [...section.matchAll(/^# (\d+) /gm)].map(([, number]) => Number(number));

    expect(numbers).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(commandsOf(section)).toHaveLength(10);
  });

  test('puts no secret into the history of a shell', () => {
    const telling = /--from-literal|--set[a-z-]*[ =](?:stripe\.apiKey|\S*\buri)=|\b(?:sk|rk)_(?:live|test)_/;

    expect(commands.filter((command) => telling.test(command))).toEqual([]);
  });

  test('sets only values that the chart has', () => {
    const set = commands.flatMap((command) =>
      [...command.matchAll(/--set(?:-string|-file)?[ =]([\w.]+)=/g)].map(([, key = '']) => key),
    );
    const inBlocks = valuesBlocks.flatMap((block) => unknownKeys(parse(block), schema));

    expect(set.length).toBeGreaterThan(3);
    expect(set.filter((key) => !isValue(key))).toEqual([]);
    expect(valuesBlocks.length).toBeGreaterThan(10);
    expect(inBlocks).toEqual([]);
    expect(unknownKeys({ config: { stripe: { key: 1 } }, extraEnv: [{ nam: 1 }] }, schema)).toEqual([
      'config.stripe.key',
      'extraEnv[].nam',
    ]);
  });

  test('names only values and settings that there are', () => {
    const sections = new Set([
      ...Object.keys(schema.properties ?? {}),
      ...settings.map(({ section }) => section),
    ]);
    const dotted = words.filter(
      (word) => /^[a-z]\w*(?:\.\w+)+$/.test(word) && sections.has(word.split('.')[0] ?? ''),
    );

    expect(dotted.length).toBeGreaterThan(15);
    expect(dotted.filter((path) => !isValue(path) && !isValue(`config.${path}`))).toEqual([]);
  });

  test('names only files and scripts that there are', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const run = [...page.matchAll(/npm run ([\w:]+)/g)].map(([, name = '']) => name);

    expect(missingFiles(page)).toEqual([]);
    expect(missingFiles('see .ci/nothing and helm/nothing.yaml, not a/docs/x')).toHaveLength(2);
    expect(run.filter((name) => !(name in scripts))).toEqual([]);
  });

  test('calls only commands, with options, that there are', () => {
    const calls = commands.flatMap((command) =>
      [...command.matchAll(/node \/app\/dist\/main\.js ([^|;&]+)/g)].map(([, call = '']) => call.trim()),
    );

    expect(calls.length).toBeGreaterThan(3);
    expect(calls.flatMap(faultsOfCall)).toEqual([]);
    expect(faultsOfCall('sync-all --dri')).toEqual(['--dri']);
    expect(faultsOfCall('requests look')).toEqual(['requests look']);
  });

  test('shows the shapes of ci/ as they are', async () => {
    const shown = valuesBlocks.map((block) => parse(block) as unknown);

    for (const name of ['iam', 'migrate', 'ha', 'openshift', 'network-policy', 'service-monitor']) {
      const whole = await shape(name);
      expect(
        shown.some((block) => isSubset(block, whole)),
        name,
      ).toBe(true);
    }
  });
});

describe('docs/deploy.md and the runbooks', () => {
  const pages = [
    'docs/deploy.md',
    ...readdirSync(join(root, 'docs/runbooks')).map((name) => `docs/runbooks/${name}`),
  ];
  const known = new Set(settings.flatMap(({ env, secret }) => (secret ? [env, `${env}_FILE`] : [env])));
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => read(`src/${name}`))
    .join('\n');
  const sections = [...new Set(settings.map(({ env }) => env.split('_')[0] ?? ''))];

  test.each(pages)('%s names only settings and lines of the log that there are', (name) => {
    const told = wordsOf(read(name));
    const variables = told.filter(
      (word) => /^[A-Z]+(?:_[A-Z]+)+$/.test(word) && sections.includes(word.split('_')[0] ?? ''),
    );
    const lines = told.filter((word) => /^[A-Z][a-z]+ [a-z]+ [\w ,']+$/.test(word));

    expect(variables.filter((variable) => !known.has(variable))).toEqual([]);
    expect(lines.filter((line) => !sources.includes(line))).toEqual([]);
  });

  test.each(pages)('%s calls the command line as it is', (name) => {
    const text = read(name);
    const calls = [...commandsOf(text), ...wordsOf(text)].flatMap((line) =>
      [...line.matchAll(/(?:^|-- )stripe-mongo-sync ([a-z][^|;&]*)/g)].map(([, call = '']) => call.trim()),
    );

    expect(calls.flatMap(faultsOfCall)).toEqual([]);
  });
});

describe.skipIf(helm === undefined)('what helm makes of docs/deploy.md', () => {
  test.each(valuesBlocks)('values %#', async (block) => {
    const secrets = {
      stripe: { existingSecret: { name: 'stripe-key' } },
      mongodb: { existingSecret: { name: 'mongodb-uri' } },
    };

    const manifests = await render({ ...secrets, ...(parse(block) as Record<string, unknown>) });

    expect(manifests.map(({ kind }) => kind)).toContain('Deployment');
  });

  test.each(commands.filter((command) => /^helm (?:install|upgrade) /.test(command)))(
    '%s',
    async (command) => {
      const folder = await mkdtemp(join(tmpdir(), 'deploy-page-'));
      try {
        const [, , release = '', path = '', ...flags] = command.split(' ');
        const args = ['template', release, join(root, path), '--kube-version', '1.37.0'];
        for (const [index, flag] of flags.entries()) {
          const value = flags[index + 1] ?? '';
          if (flag === '--set') args.push(flag, value);
          if (flag === '--values')
            args.push(flag, existsSync(join(root, value)) ? join(root, value) : await written(folder, value));
        }

        expect(await runCommand(helm ?? 'helm', args, { timeoutMs: 60_000 })).toContain('kind: Deployment');
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  );
});

/** A file that the page shows: a block whose first line is its name. */
async function written(folder: string, name: string): Promise<string> {
  const block = valuesBlocks.find((each) => each.startsWith(`# ${name}\n`));
  if (block === undefined) throw new Error(`docs/deploy.md does not show ${name}`);
  await writeFile(join(folder, name), block);
  return join(folder, name);
}
