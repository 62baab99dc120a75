import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { ConfigFault, formatConfig, loadConfig, maskedConfig, resolveConfig } from '../../src/config/load.js';
import { settings } from '../../src/config/settings.js';
import { defaultNames } from '../../src/mongo/sync-state.js';
import { atEnd } from '../support/cleanup.js';

const key = 'rk_test_51HabcdefghijklmnopQRST';
const uri = 'mongodb://127.0.0.1:27017/stripe';
const required = { STRIPE_API_KEY: key, MONGODB_URI: uri };

function temporaryFile(name: string, content: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'config-'));
  atEnd(() => rmSync(folder, { recursive: true }));
  const file = join(folder, name);
  writeFileSync(file, content);
  return file;
}

const yamlFile = (content: string): string => temporaryFile('config.yaml', content);
const secretFile = (content: string): string => temporaryFile('secret', content);

function faultsOf(load: Parameters<typeof loadConfig>[0]): readonly string[] {
  try {
    loadConfig(load);
  } catch (error) {
    if (error instanceof ConfigFault) return error.faults;
    throw error;
  }
  throw new Error('The configuration was taken');
}

describe('settings that exclude each other', () => {
  const live = 'sk_live_51HabcdefghijklmnopQRST';

  it('refuses test clocks with a live key, by name, whatever the key comes from', () => {
    const sources = [{ STRIPE_API_KEY: live }, { STRIPE_API_KEY_FILE: secretFile(`${live}\n`) }];
    for (const env of sources) {
      const [fault, ...others] = faultsOf({ env: { ...env, SYNC_TEST_CLOCKS: 'true' } });
      expect(fault).toMatch(/^SYNC_TEST_CLOCKS must be false with a live key.*sync\.testClocks/);
      expect(fault).not.toContain(live);
      expect(others).toEqual([]);
    }
    const { config } = loadConfig({ env: { STRIPE_API_KEY: key, SYNC_TEST_CLOCKS: 'true' } });
    expect(config.sync.testClocks).toBe(true);
  });
});

describe('names of collections', () => {
  const names = (env: Record<string, string>) => loadConfig({ env }).config.mongodb.collections;

  it('are those that the model and requests.insert use unless told otherwise', () => {
    expect(names({})).toEqual(defaultNames);
  });

  it('come from the environment, from a file and from options, each by itself', () => {
    const file = yamlFile('mongodb:\n  collections:\n    customers: accounts\n    state: mirror.state\n');
    const env = { CONFIG_FILE: file, MONGODB_COLLECTIONS_STATE: 'kept-state' };

    const { config, sources } = loadConfig({
      env,
      options: { mongodb: { collections: { requests: 'jobs' } } },
    });

    expect(config.mongodb.collections).toEqual({
      customers: 'accounts',
      requests: 'jobs',
      state: 'kept-state',
    });
    expect(sources.get('mongodb.collections.customers')).toEqual({ kind: 'file', file });
    expect(sources.get('mongodb.collections.requests')).toEqual({ kind: 'options' });
    expect(formatConfig(config, sources)).toContain('    state: kept-state # from the environment');
  });

  it.each(['system.profile', 'a$b', '.a', 'a.', 'a..b', 'a b', 'x'.repeat(121), 'ü'.repeat(61)])(
    'refuses %s, which MongoDB does not take or cannot hold',
    (name) => {
      const [fault, ...others] = faultsOf({ env: { MONGODB_COLLECTIONS_CUSTOMERS: name } });
      expect(fault).toMatch(/^MONGODB_COLLECTIONS_CUSTOMERS must be a collection name that MongoDB takes/);
      expect(others).toEqual([]);
    },
  );

  it.each([
    [{ REQUESTS: 'stripe_customers' }, 'REQUESTS', 'stripe_customers', 'the customers'],
    [{ STATE: 'sync_requests' }, 'STATE', 'sync_requests', 'the requests'],
    [{ CUSTOMERS: 'a', STATE: 'a_live' }, 'STATE', 'a_live', 'the view of the customers'],
  ])('refuses two that are equal: %j', (given, of, name, other) => {
    const env = Object.fromEntries(
      Object.entries(given).map(([key, value]) => [`MONGODB_COLLECTIONS_${key}`, value]),
    );

    const faults = faultsOf({ env });

    expect(faults).toEqual([
      expect.stringContaining(`MONGODB_COLLECTIONS_${of} must be a name of its own, got "${name}"`),
    ]);
    expect(faults[0]).toContain(`which is that of ${other} (`);
  });

  it('names the setting that was meant', () => {
    const file = yamlFile('mongodb:\n  colections:\n    customers: accounts\n');
    expect(faultsOf({ env: { CONFIG_FILE: file } })).toEqual([
      expect.stringContaining('did you mean `mongodb.collections.customers`?'),
    ]);
    const section = yamlFile('mongodb:\n  collections: accounts\n');
    expect(faultsOf({ env: { CONFIG_FILE: section } })).toEqual([
      expect.stringContaining('mongodb.collections must be a mapping of settings'),
    ]);
  });
});

describe('where settings come from', () => {
  it('takes defaults from its own config/default.yaml, whatever the working folder holds', () => {
    const { config, sources } = loadConfig({ env: {} });

    expect(config.http).toEqual({ host: '127.0.0.1', port: 9464 });
    expect(config.stripe.callsPerSecond).toBe('auto');
    expect(sources.get('http.port')).toEqual({ kind: 'default' });
  });

  it('has a default for every setting of the schema, each within its limits', () => {
    const { sources } = loadConfig({ env: {} });

    expect([...sources.keys()].sort()).toEqual(settings.map(({ path }) => path).sort());
  });

  it('lets the file win over the default, the environment over the file, and options over all', () => {
    const file = yamlFile('http:\n  port: 1\n  host: 0.0.0.0\nlog:\n  level: debug\n');
    const env = { CONFIG_FILE: file, HTTP_PORT: '2', LOG_LEVEL: 'warn' };

    const { config, sources } = loadConfig({ env, options: { log: { level: 'error', format: undefined } } });

    expect(config.http).toEqual({ host: '0.0.0.0', port: 2 });
    expect(config.log).toEqual({ level: 'error', format: 'auto' });
    expect(sources.get('http.host')).toEqual({ kind: 'file', file });
    expect(sources.get('http.port')).toEqual({ kind: 'environment' });
    expect(sources.get('log.level')).toEqual({ kind: 'options' });
  });

  it('names every setting in the environment after its path', () => {
    const names = Object.fromEntries(settings.map(({ path, env }) => [path, env]));

    expect(names).toMatchObject({
      'stripe.apiKey': 'STRIPE_API_KEY',
      'stripe.callsPerSecondPerEndpoint': 'STRIPE_CALLS_PER_SECOND_PER_ENDPOINT',
      'mongodb.uri': 'MONGODB_URI',
      'syncAll.schedule': 'SYNC_ALL_SCHEDULE',
      'requests.pollIntervalMs': 'REQUESTS_POLL_INTERVAL_MS',
      'shutdown.timeoutMs': 'SHUTDOWN_TIMEOUT_MS',
    });
    expect(new Set(settings.map(({ env }) => env)).size).toBe(settings.length);
  });

  it.each([
    ['STRIPE_CALLS_PER_SECOND', '12.5', 12.5],
    ['STRIPE_CALLS_PER_SECOND', 'auto', 'auto'],
    ['STRIPE_CALLS_PER_SECOND', '0', 0],
    ['STRIPE_CALLS_PER_SECOND', ' 7 ', 7],
    ['STRIPE_CALLS_PER_SECOND', '1e2', 100],
  ])('reads %s=%s as %s', (name, text, value) => {
    expect(loadConfig({ env: { [name]: text } }).config.stripe.callsPerSecond).toBe(value);
  });

  it('reads whole numbers of any spelling that YAML and templates make of them', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 315_360_000 }), fc.boolean(), (seconds, exponent) => {
        const text = exponent ? seconds.toExponential() : String(seconds);
        const { config } = loadConfig({ env: { REQUESTS_KEEP_FAILED_SECONDS: text } });
        expect(config.requests.keepFailedSeconds).toBe(seconds);
      }),
      { numRuns: 50 },
    );
  });

  it('takes an empty value where empty means something, from the environment as from YAML', () => {
    expect(loadConfig({ env: { SYNC_ALL_SCHEDULE: '' } }).config.syncAll.schedule).toBe('');
    const file = yamlFile('syncAll:\n  schedule:\nstripe:\n  # nothing here\n');
    expect(loadConfig({ env: { CONFIG_FILE: file } }).config.syncAll.schedule).toBe('');
    expect(faultsOf({ env: { HTTP_PORT: '' } })).toEqual([
      'HTTP_PORT must be a whole number from 0 to 65535, got "" (http.port, from the environment; unset it for the default)',
    ]);
  });

  it('gives a library user defaults, environment and options in one call', () => {
    const config = resolveConfig({ stripe: { callsPerSecond: 3 } }, required, [
      'stripe.apiKey',
      'mongodb.uri',
    ]);

    expect(config.stripe).toMatchObject({ apiKey: key, callsPerSecond: 3 });
  });
});

describe('a bad configuration', () => {
  it('is refused with every fault at once, each naming setting, source, value and what is allowed', () => {
    const file = yamlFile('http:\n  port: 70000\nlog:\n  colour: true\n');
    const env = {
      CONFIG_FILE: file,
      STRIPE_CALLS_PER_SECOND: 'fast',
      SYNC_ALL_TIMEZONE: 'Mars/Olympus',
      STRIPE_API_BASE: 'https://user:word@api.stripe.com/v1',
    };

    expect(faultsOf({ env, requires: ['mongodb.uri', 'stripe.apiKey'] })).toEqual([
      `unknown setting \`log.colour\` in ${file}`,
      expect.stringMatching(
        /^STRIPE_API_KEY is required \(or stripe\.apiKey, STRIPE_API_KEY_FILE\): a key that starts/,
      ),
      'STRIPE_API_BASE must be a URL without a path, such as https://api.stripe.com, got "https://***@api.stripe.com/v1" (stripe.apiBase, from the environment)',
      'STRIPE_CALLS_PER_SECOND must be a number from 0 to 1000 or auto, got "fast" (stripe.callsPerSecond, from the environment)',
      expect.stringMatching(/^MONGODB_URI is required .* a connection string .*npm run demo/),
      'SYNC_ALL_TIMEZONE must be an IANA time zone such as Europe/Berlin, got "Mars/Olympus" (syncAll.timezone, from the environment)',
      `HTTP_PORT must be a whole number from 0 to 65535, got 70000 (http.port, from ${file})`,
    ]);
  });

  it('is a fatal fault named invalid_config whose message holds all of it', () => {
    expect(() => loadConfig({ env: { HTTP_PORT: 'x', LOG_LEVEL: 'loud' } })).toThrow(
      expect.objectContaining({
        code: 'invalid_config',
        kind: 'fatal',
        message: expect.stringMatching(
          /^Invalid configuration: HTTP_PORT .*; LOG_LEVEL must be one of trace, /,
        ) as string,
      }),
    );
  });

  it.each([
    [
      'stripe:\n  callPerSecond: 1\n',
      'unknown setting `stripe.callPerSecond` in FILE; did you mean `stripe.callsPerSecond`?',
    ],
    ['strip:\n  apiKey: x\n', 'unknown setting `strip.apiKey` in FILE; did you mean `stripe.apiKey`?'],
    ['MONGODB_URI: x\n', 'unknown setting `MONGODB_URI` in FILE; did you mean `mongodb.uri`?'],
    ['requests:\n  lease: 1\n', 'unknown setting `requests.lease` in FILE; did you mean `requests.leaseMs`?'],
    ['requests: 5\n', 'requests must be a mapping of settings (from FILE)'],
    [
      'http:\n  port: [1]\n',
      'HTTP_PORT must be a whole number from 0 to 65535, got a list (http.port, from FILE)',
    ],
    [
      'http: { host: 5 }\n',
      'HTTP_HOST must be an address or host name to listen on, got 5 (http.host, from FILE)',
    ],
    ['- a\n', 'CONFIG_FILE must name a mapping of settings, got "FILE"'],
    [
      'http:\n port: 1\n  host: x\n',
      'CONFIG_FILE must name valid YAML, got BLOCK_AS_IMPLICIT_KEY at line 2, column 8 of "FILE"',
    ],
    [
      'http: {}\nhttp: {}\n',
      'CONFIG_FILE must name valid YAML, got DUPLICATE_KEY at line 2, column 1 of "FILE"',
    ],
  ])('names what is wrong in a file that says %j', (content, fault) => {
    const file = yamlFile(content);

    expect(faultsOf({ env: { CONFIG_FILE: file } })).toEqual([fault.replace(/(?<!_)FILE/, file)]);
  });

  it('names a file that cannot be read, and does not call missing what the file may have held', () => {
    expect(faultsOf({ env: { CONFIG_FILE: '/nowhere/c.yaml' }, requires: ['stripe.apiKey'] })).toEqual([
      'CONFIG_FILE must name a readable YAML file, got "/nowhere/c.yaml" (ENOENT)',
    ]);
  });

  it('has its cron expression judged by the one who knows, among all other faults', () => {
    const validateSchedule = (expression: string): string | undefined =>
      expression === 'now' ? 'it has 1 field' : undefined;

    expect(faultsOf({ env: { SYNC_ALL_SCHEDULE: 'now', HTTP_PORT: '-1' }, validateSchedule })).toEqual([
      expect.stringMatching(
        /^SYNC_ALL_SCHEDULE must be a cron expression .*, got "now": it has 1 field \(syncAll\.schedule, /,
      ),
      expect.stringContaining('HTTP_PORT'),
    ]);
    expect(
      loadConfig({ env: { SYNC_ALL_SCHEDULE: '' }, validateSchedule: () => 'never asked' }),
    ).toBeDefined();
  });

  it('tells no value of any source whole where the setting is a secret', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9:/@?=&%._-]{12,60}$/), (secret) => {
        const told = JSON.stringify([
          ...(/^(sk|rk)_(test|live)_/.test(secret) ? [] : faultsOf({ env: { STRIPE_API_KEY: secret } })),
          ...(secret.startsWith('mongodb') ? [] : faultsOf({ env: { MONGODB_URI: secret } })),
        ]);
        expect(told).not.toContain(secret);
        expect(told).not.toContain(secret.slice(0, 10));
      }),
    );
  });
});

describe('names that look like a slip', () => {
  it('are told of as a warning where they are near to a setting, and left alone where they are other tools', () => {
    const { warnings } = loadConfig({
      env: {
        STRIPE_CALLS_PER_SEC: '1',
        MONGODB_URL: uri,
        REQUESTS_LEASE: '1',
        HTTP_PORT_FILE: '/x',
        STRIPE_WEBHOOK_SECRET: 'x',
        STRIPE_SECRET_KEY: 'x',
        MONGODB_PORT_27017_TCP: 'tcp://10.0.0.1:27017',
        MONGODB_SERVICE_HOST: '10.0.0.1',
        HTTP_PROXY: 'http://proxy',
        LOG_FILE: '/x',
        PATH: '/bin',
      },
    });

    expect(warnings).toEqual([
      'HTTP_PORT_FILE is ignored: only secrets are read from files',
      'MONGODB_URL is ignored; did you mean MONGODB_URI?',
      'REQUESTS_LEASE is ignored; did you mean REQUESTS_LEASE_MS?',
      'STRIPE_CALLS_PER_SEC is ignored; did you mean STRIPE_CALLS_PER_SECOND?',
    ]);
  });
});

describe('secrets', () => {
  it('are read from the file that …_FILE names, without its last line break', () => {
    const file = secretFile(`${key}\r\n`);

    const { config, sources } = loadConfig({
      env: { STRIPE_API_KEY_FILE: file, MONGODB_URI_FILE: secretFile(uri) },
    });

    expect(config.stripe.apiKey).toBe(key);
    expect(config.mongodb.uri).toBe(uri);
    expect(sources.get('stripe.apiKey')).toEqual({
      kind: 'secret_file',
      variable: 'STRIPE_API_KEY_FILE',
      file,
    });
  });

  it('are refused when given both ways, but an empty one counts as not given', () => {
    const file = secretFile(key);

    expect(
      faultsOf({ env: { STRIPE_API_KEY: key, STRIPE_API_KEY_FILE: file }, requires: ['stripe.apiKey'] }),
    ).toEqual(['STRIPE_API_KEY and STRIPE_API_KEY_FILE are both given; keep one of them']);
    expect(loadConfig({ env: { STRIPE_API_KEY: '', STRIPE_API_KEY_FILE: file } }).config.stripe.apiKey).toBe(
      key,
    );
    expect(loadConfig({ env: { STRIPE_API_KEY: key, STRIPE_API_KEY_FILE: '' } }).config.stripe.apiKey).toBe(
      key,
    );
  });

  it('name the file that cannot be read, once', () => {
    expect(faultsOf({ env: { MONGODB_URI_FILE: '/nowhere/uri' }, requires: ['mongodb.uri'] })).toEqual([
      'MONGODB_URI_FILE must name a readable file, got "/nowhere/uri" (ENOENT)',
    ]);
  });

  it('can be read again from their file, and what is unusable there is refused without being told', () => {
    const file = secretFile(key);
    const { readSecret } = loadConfig({ env: { STRIPE_API_KEY_FILE: file, MONGODB_URI: uri } });
    const readKey = readSecret('stripe.apiKey');

    writeFileSync(file, 'rk_test_another1234567890\n');
    expect(readKey?.()).toBe('rk_test_another1234567890');
    expect(readSecret('mongodb.uri')).toBeUndefined();

    writeFileSync(file, 'half a ke');
    expect(() => readKey?.()).toThrow(expect.objectContaining({ code: 'invalid_config', kind: 'retryable' }));
    expect(() => readKey?.()).not.toThrow(/half a/);
  });
});

describe('the printed configuration', () => {
  it('shows of a key its kind, mode and last four characters, and says where settings are from', () => {
    const { config, sources } = loadConfig({ env: required });

    const printed = formatConfig(config, sources);

    expect(printed).toContain('apiKey: rk_test_…QRST # from the environment\n');
    expect(printed).not.toContain(key);
    expect(parse(printed)).toEqual(maskedConfig(config));
  });

  it.each([
    ['mongodb://user:p%40ss@h1:1,h2:2/db?replicaSet=rs', 'mongodb://***:***@h1:1,h2:2/db?replicaSet=rs'],
    ['mongodb+srv://user:p@ss/w@ord@cluster.example.net/', 'mongodb+srv://***:***@cluster.example.net/'],
    [
      'mongodb://h/db?tls=true&tlsCertificateKeyFilePassword=pw',
      'mongodb://h/db?tls=true&tlsCertificateKeyFilePassword=***',
    ],
    [
      'mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:tok',
      'mongodb://h/?authMechanismProperties=***',
    ],
    ['mongodb://127.0.0.1:27017/stripe', 'mongodb://127.0.0.1:27017/stripe'],
  ])('masks the credentials alone of %s', (given, shown) => {
    const { config } = loadConfig({ env: { MONGODB_URI: given } });

    expect(maskedConfig(config).mongodb.uri).toBe(shown);
    expect(config.mongodb.uri).toBe(given);
  });

  it('can be used as a CONFIG_FILE, and then gives the same configuration', () => {
    const { config } = loadConfig({ env: { SYNC_ALL_SCHEDULE: '*/5 * * * *', HTTP_PORT: '0' } });

    expect(loadConfig({ env: { CONFIG_FILE: yamlFile(formatConfig(config)) } }).config).toEqual(config);
  });
});
