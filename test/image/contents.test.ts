// What is in the image, and what it says of itself.
import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  describeImage,
  imageUnderTest,
  runInContainer,
  sizeOf,
  type ImageDescription,
} from '../support/docker.js';

const image = imageUnderTest();
const mostBytesAboveBase = 90e6;

interface File {
  path: string;
  bytes: number;
  /** As `ls -l` shows it, such as `-rw-r--r--`. */
  mode: string;
  owner: string;
}

let description: ImageDescription;
let base: string;
/** The files that are in the image but not in its base, or are other ones there. */
let files: File[];

async function filesOf(name: string): Promise<Map<string, File>> {
  const mounts = ['/dev', '/proc', '/sys'].flatMap((path) => ['-path', path, '-prune', '-o']);
  // Docker itself writes these three into every container.
  const written = ['hostname', 'hosts', 'resolv.conf'].flatMap((file) => ['!', '-path', `/etc/${file}`]);
  const listed = ['!', '-type', 'd', ...written, '-printf', String.raw`%s\t%M\t%U:%G\t%p\n`];
  const { stdout, code, stderr } = await runInContainer(name, {
    options: ['--network=none', '--user=0', '--entrypoint=find', '--no-healthcheck'],
    command: ['/', ...mounts, ...listed],
  });
  expect(code, stderr).toBe(0);
  return new Map(
    stdout.split('\n').flatMap((line) => {
      const [bytes, mode, owner, path] = line.split('\t');
      if (bytes === undefined || mode === undefined || owner === undefined || path === undefined) return [];
      return [[path, { path, bytes: Number(bytes), mode, owner }] as const];
    }),
  );
}

beforeAll(async () => {
  description = await describeImage(image);
  base = description.Config.Labels['org.opencontainers.image.base.name'] ?? '';
  const [ours, theirs] = await Promise.all([filesOf(image), filesOf(base)]);
  files = [...ours.values()].filter(({ path, bytes }) => theirs.get(path)?.bytes !== bytes);
});

describe('files', () => {
  test('the program, its defaults and its licence are there, and nothing beside them', () => {
    const elsewhere = files.filter(({ path }) => !path.startsWith('/app/'));
    const ofProgram = files.flatMap(({ path }) => path.match(/^\/app\/([^/]+)/)?.[1] ?? []);

    expect(elsewhere).toEqual([]);
    expect([...new Set(ofProgram)].sort()).toEqual([
      'CHANGELOG.md',
      'LICENSE',
      'config',
      'dist',
      'healthcheck.js',
      'node_modules',
      'package.json',
    ]);
    const paths = files.map(({ path }) => path);
    expect(paths).toEqual(expect.arrayContaining(['/app/dist/main.js', '/app/config/default.yaml']));
    expect(paths.filter((path) => path.startsWith('/app/config/'))).toHaveLength(1);
    expect(paths.filter((path) => /^\/app\/dist\/.*(?<!\.js)$/.test(path))).toEqual([]);
  });

  test('the packages are those that the lock file has for production', async () => {
    const { packages } = JSON.parse(await readFile('package-lock.json', 'utf8')) as {
      packages: Record<string, { dev?: boolean; devOptional?: boolean; link?: boolean }>;
    };
    // Neither the project itself nor its workspace, the simulator, is a package that it needs.
    const expected = Object.entries(packages)
      .filter(([path, { link }]) => path.startsWith('node_modules/') && link !== true)
      .filter(([, { dev, devOptional }]) => dev !== true && devOptional !== true)
      .map(([path]) => path);
    const { devDependencies } = JSON.parse(await readFile('package.json', 'utf8')) as {
      devDependencies: Record<string, string>;
    };

    const manifest = /^\/app\/(node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+)\/package\.json$/;
    const installed = new Set(files.flatMap(({ path }) => manifest.exec(path)?.[1] ?? []));
    expect([...installed].sort()).toEqual(expected.sort());
    expect(Object.keys(devDependencies).filter((name) => installed.has(`node_modules/${name}`))).toEqual([]);
  });

  test('neither tests, types and source maps nor anything that may be a secret is there', () => {
    const ours = files.filter(({ path }) => !path.startsWith('/app/node_modules/'));
    const matching = (pattern: RegExp, among = files) =>
      among.map(({ path }) => path).filter((path) => pattern.test(path));

    expect(matching(/simulator|vitest|mongod$|memory-server|\/tsx?$|\/typescript\//)).toEqual([]);
    expect(matching(/\.(map|[mc]?ts|tsbuildinfo|log|tgz)$/)).toEqual([]);
    expect(matching(/\/(test|tests|demo|bench|docs|helm|src|coverage)\//, ours)).toEqual([]);
    expect(
      matching(
        /\/\.(npmrc|env|git|gitconfig|git-credentials|ssh|aws|docker|netrc)(\/|$)|\.(pem|key|p12|crt)$|id_(rsa|ed25519)/,
      ),
    ).toEqual([]);
  });

  test('everybody may read them, and nobody but root may change them', () => {
    const readable = /^(-rw?-?x?r-[x-]r-[x-]|-rw-r--r--|-rwxr-xr-x|lrwxrwxrwx)$/;
    const others = files.filter(({ mode, owner }) => owner !== '0:0' || !readable.test(mode));

    expect(others).toEqual([]);
  });

  test(`they come to less than ${mostBytesAboveBase / 1e6} MB above the base`, async () => {
    const byFiles = files.reduce((sum, { bytes }) => sum + bytes, 0);
    const byEngine = description.Size - (await sizeOf(base));

    const figures = { byFilesMb: byFiles / 1e6, byEngineMb: byEngine / 1e6, files: files.length };
    console.info('size above the base', JSON.stringify(figures));
    expect(Math.max(byFiles, byEngine)).toBeLessThan(mostBytesAboveBase);
  });
});

describe('description', () => {
  test('it runs as a numeric user who is not root, and is asked to end by SIGTERM', () => {
    const { User, StopSignal, Entrypoint, Cmd } = description.Config;

    expect({ User, StopSignal, Entrypoint, Cmd }).toEqual({
      User: '10001:10001',
      StopSignal: 'SIGTERM',
      Entrypoint: ['node', '/app/dist/main.js'],
      Cmd: ['run'],
    });
    expect(description.Config.Healthcheck.Test).toEqual(['CMD', 'node', '/app/healthcheck.js']);
  });

  test('its environment keeps the heap small and holds no secret', () => {
    const variables = new Map(
      description.Config.Env.map((entry) => entry.split(/=(.*)/s, 2) as [string, string]),
    );

    expect(variables.get('NODE_ENV')).toBe('production');
    expect(variables.get('HTTP_HOST')).toBe('0.0.0.0');
    expect(variables.get('NODE_OPTIONS')).toMatch(/^--max-semi-space-size=\d+ --max-old-space-size=\d+$/);
    const own = [...variables.keys()].filter((name) => !/^(PATH|NODE_VERSION|YARN_VERSION)$/.test(name));
    expect(own.sort()).toEqual(['HTTP_HOST', 'NODE_ENV', 'NODE_OPTIONS']);
  });

  test('it is labelled as the Open Containers Initiative names it', async () => {
    const { name, version, license } = JSON.parse(await readFile('package.json', 'utf8')) as Record<
      string,
      string
    >;
    const annotation = (key: string) => description.Config.Labels[`org.opencontainers.image.${key}`];

    expect(annotation('title')).toBe(name);
    expect(annotation('version')).toBe(version);
    expect(annotation('licenses')).toBe(license);
    expect(annotation('revision')).toMatch(/^[0-9a-f]{40}$|^unknown$/);
    expect(Date.parse(annotation('created') ?? '')).toBeGreaterThan(Date.parse('2020-01-01'));
    for (const key of ['description', 'source', 'base.name']) expect(annotation(key)).toMatch(/./);
  });
});
