// Loads the configuration: config/default.yaml, then the file of CONFIG_FILE, then the environment, then a
// caller's options. The only reader of the environment. All faults are reported together.
import { fileURLToPath } from 'node:url';
import { Fault } from '../base/errors.js';
import { showValue } from './print.js';
import { type Config, configSchema, type SecretPath, type SettingPath } from './schema.js';
import { parseSetting, type Setting, settings } from './settings.js';
import {
  describeSource,
  type Environment,
  type Given,
  readEnvironment,
  readMapping,
  readSecretFile,
  readYamlFile,
  type SettingSource,
  type SourceReading,
  suspectVariables,
} from './sources.js';

export { formatConfig, maskedConfig } from './print.js';
export type { Config, SettingPath } from './schema.js';

/**
 * Relative to this module, in src/ or dist/, and not to the working directory: `npx` runs in any directory.
 */
const defaultsFile = fileURLToPath(new URL('../../config/default.yaml', import.meta.url));

/** An invalid configuration: exit code 2. `faults` has one sentence per fault, with secrets masked. */
export class ConfigFault extends Fault {
  constructor(readonly faults: readonly string[]) {
    super('invalid_config', `Invalid configuration: ${faults.join('; ')}`);
  }
}

/** Any part of the configuration, as options of a caller. */
export type ConfigOptions = PartOf<Config>;

type PartOf<T> = { readonly [K in keyof T]?: (T[K] extends object ? PartOf<T[K]> : T[K]) | undefined };

export interface LoadOptions {
  /** Variables to read; the process's own by default. */
  readonly env?: Environment;
  /** Settings that must not be empty: `stripe.apiKey`, `mongodb.uri`. */
  readonly requires?: readonly SettingPath[];
  /** Takes precedence over every other source. */
  readonly options?: ConfigOptions;
  /** Validates a `syncAll.schedule` that is not empty. Returns the error, if any. */
  readonly validateSchedule?: (expression: string) => string | undefined;
}

export interface LoadedConfig {
  readonly config: Config;
  /** The source of each setting's value. */
  readonly sources: ReadonlyMap<SettingPath, SettingSource>;
  /** Warnings about variables that look like typing errors; they are not faults. */
  readonly warnings: readonly string[];
  /**
   * Returns a function that reads the file of a secret again, for rotation without a restart; undefined if
   * the secret is not from a file. The function throws a retryable `invalid_config` while the file is
   * unusable: keep the old secret then.
   */
  readonly readSecret: (path: SecretPath) => (() => string) | undefined;
}

/**
 * Loads the configuration. @throws ConfigFault with every fault: setting, source, value and what is allowed
 */
export function loadConfig(load: LoadOptions = {}): LoadedConfig {
  const env = load.env ?? process.env;
  const readings = readSources(env, load.options);
  const given = new Map<SettingPath, Given>(readings.flatMap((reading) => [...reading.given]));
  const unread = new Set(readings.flatMap((reading) => reading.unread));
  const faults = readings.flatMap((reading) => reading.faults);
  const values: Values = {};

  for (const setting of settings) {
    const judged = judge(setting, given.get(setting.path), load);
    if (judged.kind === 'missing' && unread.has(setting.path)) continue;
    if (judged.kind === 'valid') sectionOf(values, setting.section)[setting.key] = judged.value;
    else faults.push(judged.fault);
  }
  if (faults.length > 0) throw new ConfigFault(faults);
  const config = configSchema.parse(values);
  const clashes = faultsTogether(config, (path) =>
    describeSource(given.get(path)?.source ?? { kind: 'default' }),
  );
  if (clashes.length > 0) throw new ConfigFault(clashes);

  return {
    config,
    sources: new Map([...given].map(([path, { source }]) => [path, source])),
    warnings: suspectVariables(env),
    readSecret: (path) => secretReader(path, given.get(path)?.source),
  };
}

interface Values {
  [key: string]: unknown;
}

/** The mapping of a section; created where it is missing. */
function sectionOf(values: Values, section: string): Values {
  let part = values;
  for (const key of section.split('.')) part = (part[key] ??= {}) as Values; // only this function makes them
  return part;
}

/** Settings that are valid alone, and not together. */
function faultsTogether(config: Config, sourceOf: (path: SettingPath) => string): readonly string[] {
  const faults: string[] = [];
  if (config.sync.testClocks && /^(sk|rk)_live_/.test(config.stripe.apiKey)) {
    faults.push(
      `SYNC_TEST_CLOCKS must be false with a live key, as there are no test clocks in live mode (sync.testClocks, ${sourceOf('sync.testClocks')})`,
    );
  }
  const { customers, requests, state } = config.mongodb.collections;
  const taken = new Map([
    [customers, 'the customers (mongodb.collections.customers)'],
    [`${customers}_live`, 'the view of the customers (mongodb.collections.customers and _live)'],
  ]);
  for (const [key, name, what] of [
    ['requests', requests, 'the requests'],
    ['state', state, 'the state'],
  ] as const) {
    const path = `mongodb.collections.${key}` as const;
    const other = taken.get(name);
    if (other !== undefined) {
      faults.push(
        `MONGODB_COLLECTIONS_${key.toUpperCase()} must be a name of its own, got "${name}", which is that of ${other} (${path}, ${sourceOf(path)})`,
      );
    }
    taken.set(name, `${what} (${path})`);
  }
  return faults;
}

/** The configuration of `loadConfig`, with options that override it. */
export const resolveConfig = (
  options: ConfigOptions,
  env?: Environment,
  requires: readonly SettingPath[] = [],
): Config => loadConfig({ options, requires, ...(env && { env }) }).config;

function readSources(env: Environment, options: ConfigOptions | undefined): SourceReading[] {
  const file = env['CONFIG_FILE'] ?? '';
  return [
    readYamlFile(defaultsFile, { kind: 'default' }, 'The file of defaults'),
    ...(file === '' ? [] : [readYamlFile(file, { kind: 'file', file }, 'CONFIG_FILE')]),
    readEnvironment(env),
    ...(options ? [readMapping(options, { kind: 'options' })] : []),
  ];
}

type Judged =
  | { readonly kind: 'valid'; readonly value: unknown }
  | { readonly kind: 'missing'; readonly fault: string }
  | { readonly kind: 'invalid'; readonly fault: string };

function judge(setting: Setting, given: Given | undefined, load: LoadOptions): Judged {
  const { path, env, allowed } = setting;
  const parsed = given && parseSetting(setting, given.value);
  if (!parsed || (parsed.value === '' && load.requires?.includes(path))) {
    const instead = setting.whenMissing === undefined ? '' : `; ${setting.whenMissing}`;
    const names = setting.secret ? `${path}, ${env}_FILE` : path;
    return { kind: 'missing', fault: `${env} is required (or ${names}): ${allowed}${instead}` };
  }
  const schedule = path === 'syncAll.schedule' && typeof parsed.value === 'string' ? parsed.value : '';
  const wrong = schedule === '' ? undefined : load.validateSchedule?.(schedule);
  if (parsed.kind === 'valid' && wrong === undefined) return parsed;
  const hint = given.value === '' && given.source.kind === 'environment' ? '; unset it for the default' : '';
  const reason = wrong === undefined ? '' : `: ${wrong}`;
  const where = `(${path}, ${describeSource(given.source)}${hint})`;
  return {
    kind: 'invalid',
    fault: `${env} must be ${allowed}, got ${showValue(setting, given.value)}${reason} ${where}`,
  };
}

function secretReader(path: SecretPath, source: SettingSource | undefined): (() => string) | undefined {
  const setting = settings.find((candidate) => candidate.path === path);
  if (!setting || source?.kind !== 'secret_file') return undefined;
  return () => {
    const unusable = (message: string, cause?: unknown) =>
      new Fault('invalid_config', message, { kind: 'retryable', cause });
    let value: string;
    try {
      value = readSecretFile(source.file);
    } catch (error) {
      throw unusable(`${source.variable} must name a readable file, got "${source.file}"`, error);
    }
    if (value === '' || parseSetting(setting, value).kind === 'invalid') {
      throw unusable(
        `${setting.env} must be ${setting.allowed}, got ${showValue(setting, value)} (${describeSource(source)})`,
      );
    }
    return value;
  };
}
