// What users install: the tarball, put into a folder that has settings and types of its own.
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, it } from 'vitest';
import { atEnd } from '../support/cleanup.js';
import { runCommand } from '../support/run-command.js';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const timeoutMs = 120_000;

let files: string[];
/** The folder of somebody else, with the package installed. */
let elsewhere: string;

/** What npm needs to reach a registry. Nothing else of our own npm's or of a developer's settings gets in. */
const passedOn =
  /^(path|home|(https?|no)_proxy|node_extra_ca_certs|npm_config_(registry|cache|cafile|https?-?proxy))$/i;

const env = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => passedOn.test(name))),
  STRIPE_API_KEY: 'rk_test_0123456789abcdef',
  MONGODB_URI: 'mongodb://127.0.0.1/x',
};

const inFolder = (cwd: string, command: string, ...args: string[]): Promise<string> =>
  runCommand(command, args, { cwd, timeoutMs, env });

async function temporaryFolder(name: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), `${name}-`));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Packs a copy of the repository: packing builds, and dist/ of the checkout may be in use. */
async function pack(): Promise<string> {
  const copy = await temporaryFolder('package-copy');
  const ignored = new Set(['.git', 'node_modules', 'dist', 'coverage']);
  const isOurs = (path: string): boolean => !ignored.has(relative(repository, path).split(sep)[0] ?? '');
  await cp(repository, copy, { recursive: true, filter: isOurs });
  await symlink(join(repository, 'node_modules'), join(copy, 'node_modules'));

  const target = await temporaryFolder('package-tarball');
  await inFolder(copy, 'npm', 'pack', '--pack-destination', target);
  const [tarball] = await readdir(target);
  if (tarball === undefined) throw new Error('npm pack wrote no tarball');
  return join(target, tarball);
}

async function install(tarball: string): Promise<string> {
  const folder = await temporaryFolder('package-installed');
  await writeFile(
    join(folder, 'package.json'),
    '{ "name": "somebody-else", "private": true, "type": "module" }',
  );
  await mkdir(join(folder, 'config'));
  await writeFile(
    join(folder, 'config', 'default.yaml'),
    'stripe:\n  callsPerSecond: nonsense\nnothing: [of, ours\n',
  );
  const quickly = ['--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund'];
  await inFolder(folder, 'npm', 'install', ...quickly, tarball);
  return folder;
}

beforeAll(async () => {
  const tarball = await pack();
  const listing = await inFolder(repository, 'tar', '-tzf', tarball);
  files = listing
    .trim()
    .split('\n')
    .map((path) => path.replace(/^package\//, ''));
  elsewhere = await install(tarball);
}, timeoutMs);

it('holds the program, its settings and its documents, and nothing else', () => {
  const expected = [
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'package.json',
    'config/default.yaml',
    'dist/main.js',
    'dist/index.d.ts',
  ];
  expect(files).toEqual(expect.arrayContaining(expected));
  expect([...new Set(files.map((file) => file.split('/')[0]))].sort()).toEqual([
    'CHANGELOG.md',
    'LICENSE',
    'README.md',
    'config',
    'dist',
    'package.json',
  ]);
  expect(
    files.filter((file) => /simulator|\.test\.|(^|\/)(demo|bench)(\/|$)|tsbuildinfo/.test(file)),
  ).toEqual([]);
});

it('runs beside a foreign config folder with its own defaults', async () => {
  const printed = await inFolder(elsewhere, 'npx', '--no-install', 'stripe-mongo-sync', 'check-config');

  expect(printed).toContain('callsPerSecond: auto\n');
  expect(printed).toContain('schedule: 0 3 * * *\n');
  expect(printed).toContain('port: 9464\n');
});

it('is imported with its types', async () => {
  const consumer = `
    import { StripeCustomer, StripeCustomerAction, type ItemResult, type SyncResult } from 'stripe-mongo-sync';
    export const model: typeof StripeCustomer = StripeCustomerAction.modelClass;
    export async function use(action: StripeCustomerAction): Promise<[SyncResult, ItemResult, string | undefined]> {
      const found = await StripeCustomer.findOne().live();
      return [await action.syncByIds(['cus_1']), await action.softDelete('cus_1'), found?._id];
    }
    // @ts-expect-error -- ids are a list, so the types are more than any
    export const wrong = (action: StripeCustomerAction) => action.syncByIds('cus_1');`;
  await writeFile(join(elsewhere, 'consumer.ts'), consumer);
  const options = [
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2023',
    '--lib',
    'es2023',
    '--skipLibCheck',
    '--noEmit',
  ];
  const nodeTypes = ['--types', 'node', '--typeRoots', join(repository, 'node_modules', '@types')];
  const program = `
    const { StripeCustomer, StripeCustomerAction } = await import('stripe-mongo-sync');
    console.log(StripeCustomer.modelName, StripeCustomerAction.stripeObjectClass, StripeCustomerAction.modelClass === StripeCustomer);`;

  const [, output] = await Promise.all([
    inFolder(
      elsewhere,
      join(repository, 'node_modules', '.bin', 'tsc'),
      ...options,
      ...nodeTypes,
      'consumer.ts',
    ),
    inFolder(elsewhere, process.execPath, '--input-type=module', '--eval', program),
  ]);

  expect(output.trim()).toBe('StripeCustomer customer true');
});
