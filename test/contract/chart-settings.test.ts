// What the daemon makes of the settings that were given to the chart. The manifests are those of the real helm; a container is
// followed from its variables through mounts and volumes to ConfigMap and Secrets.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadConfig, type LoadedConfig } from '../../src/config/load.js';
import { parseSetting, type Setting, settings, valueAt } from '../../src/config/settings.js';
import { atEnd } from '../support/cleanup.js';
import { helm, type Manifest, manifestOf, render, shape } from '../support/helm.js';

interface Container {
  name: string;
  env: { name: string; value?: string }[];
  volumeMounts: { name: string; mountPath: string }[];
}

interface Volume {
  name: string;
  configMap?: { name: string };
  secret?: { secretName: string; items: { key: string; path: string }[] };
}

interface PodSpec {
  initContainers?: Container[];
  containers: Container[];
  volumes: Volume[];
}

/** Defaults; nothing of the environment of whoever runs the test. */
const defaults = loadConfig({ env: {} }).config;
const isFree = ({ secret }: Setting): boolean => !secret;
const valueOf = (config: object, { path }: Setting): unknown => valueAt(config, path);

/** Values that some setting takes: numbers at the edges of what is allowed, and a text of each kind there is. */
const samples = {
  largest: [1e9, 315_360_000, 86_400_000, 3_600_000, 600_000, 300_000, 65_535, 60_000, 1_000, 256, 100, 1],
  smallest: [1, 50, 100, 500, 1_000, 0],
  texts: [
    'https://stripe.example.com',
    '2025-01-27',
    'acct_1Example',
    'example_database',
    '5 4 * * *',
    'Europe/Berlin',
  ],
};

function sampleOf(setting: Setting, numbers: readonly number[]): unknown {
  if (setting.path === 'http.host') return '::';
  // Names of collections must differ.
  if (setting.section === 'mongodb.collections') return `example_${setting.key}`;
  const standard = valueOf(defaults, setting);
  const choices = [...numbers, true, false, 'debug', 'json', 'warn', ...samples.texts];
  const sample = choices.find(
    (choice) =>
      choice !== standard && typeof choice !== 'undefined' && parseSetting(setting, choice).kind === 'valid',
  );
  if (sample === undefined) throw new Error(`no sample is a value of ${setting.path}: add one`);
  return sample;
}

interface Values {
  [key: string]: unknown;
}

function configOf(numbers: readonly number[]): Values {
  const config: Values = {};
  for (const setting of settings.filter(isFree)) {
    const section = setting.section.split('.').reduce((part, key) => (part[key] ??= {}) as Values, config);
    section[setting.key] = sampleOf(setting, numbers);
  }
  return config;
}

const podOf = (manifests: readonly Manifest[]): PodSpec => {
  const { spec } = manifestOf(manifests, 'Deployment') as Manifest & {
    spec: { template: { spec: PodSpec } };
  };
  return spec.template.spec;
};

/** Variables that the image sets, which the chart's own must win against. */
function imageVariables(): Record<string, string> {
  const dockerfile = readFileSync(fileURLToPath(new URL('../../Dockerfile', import.meta.url)), 'utf8');
  const [, text = ''] = /^ENV ((?:.*\\\n)*.*)$/m.exec(dockerfile) ?? [];
  const found = [...text.matchAll(/(\w+)=(?:"([^"]*)"|(\S+))/g)];
  return Object.fromEntries(found.map(([, name = '', quoted, bare]) => [name, quoted ?? bare ?? '']));
}

/** The environment of the container, with its files in a folder of this machine. */
function environmentOf(
  manifests: readonly Manifest[],
  { env, volumeMounts }: Container,
): Record<string, string> {
  const folder = mkdtempSync(join(tmpdir(), 'chart-settings-'));
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
  const { volumes } = podOf(manifests);
  for (const { name, mountPath } of volumeMounts) {
    const volume = volumes.find((candidate) => candidate.name === name);
    for (const [file, content] of Object.entries(filesOf(manifests, volume))) {
      const path = join(folder, mountPath, file);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
    }
  }
  const given = env.map(({ name, value = '' }) => [
    name,
    value.startsWith('/') ? join(folder, value) : value,
  ]);
  return { ...imageVariables(), ...(Object.fromEntries(given) as Record<string, string>) };
}

function filesOf(manifests: readonly Manifest[], volume: Volume | undefined): Record<string, string> {
  const named = (kind: string, name: string) =>
    manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);
  if (volume?.configMap) {
    return named('ConfigMap', volume.configMap.name)?.['data'] as Record<string, string>;
  }
  if (!volume?.secret) return {};
  const data = named('Secret', volume.secret.secretName)?.['stringData'] as Record<string, string>;
  return Object.fromEntries(volume.secret.items.map(({ key, path }) => [path, data[key] ?? '']));
}

/** The configuration that the named container's process would have. */
async function loadedIn(values: Record<string, unknown>, name = 'daemon'): Promise<LoadedConfig> {
  const manifests = await render(values);
  const { containers, initContainers = [] } = podOf(manifests);
  const container = [...containers, ...initContainers].find((candidate) => candidate.name === name);
  if (!container) throw new Error(`no container ${name}`);
  return loadConfig({ env: environmentOf(manifests, container), requires: ['mongodb.uri'] });
}

describe.skipIf(helm === undefined)('settings through the chart', () => {
  it.each(['largest', 'smallest'] as const)(
    'every setting reaches the daemon as it was given, with the %s numbers',
    async (edge) => {
      const config = configOf(samples[edge]);

      const loaded = await loadedIn({
        ...(await shape('created-secrets')),
        config,
        terminationGracePeriodSeconds: 3_600,
      });

      const got = settings.filter(isFree).map((setting) => [setting.path, valueOf(loaded.config, setting)]);
      const given = settings.filter(isFree).map((setting) => [setting.path, valueOf(config, setting)]);
      expect(got).toEqual(given);
      expect(loaded.warnings).toEqual([]);
    },
  );

  it('secrets reach the daemon as files', async () => {
    const { config, sources } = await loadedIn(await shape('created-secrets'));

    expect(config.stripe.apiKey).toBe('rk_test_madeup');
    expect(config.mongodb.uri).toBe('mongodb://daemon:madeup@mongodb.example.com/stripe?replicaSet=rs0');
    expect(sources.get('stripe.apiKey')?.kind).toBe('secret_file');
    expect(sources.get('mongodb.uri')?.kind).toBe('secret_file');
  });

  it('without settings, the daemon has its defaults but for the address it listens on', async () => {
    const { config, warnings } = await loadedIn(await shape('created-secrets'));

    const { stripe, mongodb, http, ...others } = config;
    expect({
      ...others,
      stripe: { ...stripe, apiKey: '' },
      mongodb: { ...mongodb, uri: '' },
      http: { ...http, host: '127.0.0.1' },
    }).toEqual(defaults);
    expect(http.host).toBe('0.0.0.0');
    expect(warnings).toEqual([]);
  });

  it('the migrating container has the connection string of its own user, and no Stripe key', async () => {
    const values = { ...(await shape('full')), nameOverride: '' };

    const { config } = await loadedIn(values, 'migrate');

    expect(config.mongodb.uri).toBe('mongodb://migrate:madeup@mongodb.example.com/stripe');
    expect(config.stripe.apiKey).toBe('');
    expect((await loadedIn(values)).config.mongodb.autoMigrate).toBe(false);
  });

  it('sets no variable that the daemon does not know', async () => {
    const known = new Set([
      'CONFIG_FILE',
      ...settings.flatMap(({ env, secret }) => (secret ? [env, `${env}_FILE`] : [env])),
    ]);

    const { initContainers = [], containers } = podOf(await render(await shape('migrate')));

    const names = [...initContainers, ...containers].flatMap(({ env }) => env.map(({ name }) => name));
    expect(names.filter((name) => !known.has(name))).toEqual([]);
  });

  it('two releases of two accounts share no name of an object', async () => {
    const eu = await render(await shape('account-eu'), 'eu');
    const us = await render(await shape('account-us'), 'us');

    const names = (manifests: readonly Manifest[]) =>
      manifests.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    expect(names(eu).filter((name) => names(us).includes(name))).toEqual([]);
  });
});
