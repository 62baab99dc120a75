// Where settings come from: YAML files, a given environment, files of secrets, a caller's options. Reports
// only faults of the sources themselves; load.ts validates the values.
import { readFileSync } from 'node:fs';
import { parseDocument } from 'yaml';
import type { SettingPath } from './schema.js';
import { envName, nearest, type Setting, settings } from './settings.js';

export type Environment = Readonly<Record<string, string | undefined>>;

export type SettingSource =
  | { readonly kind: 'default' }
  | { readonly kind: 'file'; readonly file: string }
  | { readonly kind: 'environment' }
  /** The file named by the variable `…_FILE`. */
  | { readonly kind: 'secret_file'; readonly variable: string; readonly file: string }
  | { readonly kind: 'options' };

export const describeSource = (source: SettingSource): string => {
  switch (source.kind) {
    case 'default':
      return 'from config/default.yaml';
    case 'file':
      return `from ${source.file}`;
    case 'environment':
      return 'from the environment';
    case 'secret_file':
      return `from the file that ${source.variable} names`;
    case 'options':
      return 'from the options given';
  }
};

export interface Given {
  readonly value: unknown;
  readonly source: SettingSource;
}

/** The values of a source, and the faults of the source itself. */
export interface SourceReading {
  readonly given: ReadonlyMap<SettingPath, Given>;
  readonly faults: readonly string[];
  /** Settings that an unreadable source may contain; they are not reported as missing. */
  readonly unread: readonly SettingPath[];
}

const isMapping = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const settingPaths = settings.map((setting) => setting.path);
/** Sections within others included. */
const sections = [...new Set(settings.map((setting) => setting.section))];

/** The system's code of an error (`ENOENT`); no other part of it is reported. */
const systemCode = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unreadable';

function unknownKey(path: string, source: SettingSource): string {
  const best = nearest(path, settingPaths) ?? nearest(path, sections);
  const where = source.kind === 'file' ? ` in ${source.file}` : '';
  return `unknown setting \`${path}\`${where}${best === undefined ? '' : `; did you mean \`${best}\`?`}`;
}

/**
 * Reads settings from a mapping of sections. An empty section (`stripe:` with nothing below it) is ignored.
 */
export function readMapping(mapping: unknown, source: SettingSource): SourceReading {
  const given = new Map<SettingPath, Given>();
  const faults: string[] = [];
  const read = (path: string, value: unknown): void => {
    const setting = settings.find((candidate) => candidate.path === path);
    if (setting) {
      if (value !== undefined) given.set(setting.path, { value, source });
      return;
    }
    const isSection = sections.includes(path);
    if (isSection && (value === null || value === undefined)) return;
    if (isMapping(value) && (isSection || Object.keys(value).length > 0)) readAll(value, `${path}.`);
    else if (isSection) faults.push(`${path} must be a mapping of settings (${describeSource(source)})`);
    else faults.push(unknownKey(path, source));
  };
  const readAll = (entries: Readonly<Record<string, unknown>>, prefix: string): void => {
    for (const [key, value] of Object.entries(entries)) read(`${prefix}${key}`, value);
  };
  readAll(isMapping(mapping) ? mapping : {}, '');
  return { given, faults, unread: [] };
}

/**
 * Reads a YAML file of settings. A syntax error is reported by its position only, because the text may be a
 * secret.
 */
export function readYamlFile(file: string, source: SettingSource, named: string): SourceReading {
  const failed = (fault: string): SourceReading => ({
    given: new Map(),
    faults: [`${named} ${fault}`],
    unread: settingPaths,
  });
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    return failed(`must name a readable YAML file, got "${file}" (${systemCode(error)})`);
  }
  const document = parseDocument(text, { prettyErrors: true });
  const [error] = document.errors;
  if (error) {
    const { line = 0, col = 0 } = error.linePos?.[0] ?? {};
    return failed(`must name valid YAML, got ${error.code} at line ${line}, column ${col} of "${file}"`);
  }
  const mapping: unknown = document.toJS();
  if (mapping !== null && !isMapping(mapping))
    return failed(`must name a mapping of settings, got "${file}"`);
  return readMapping(mapping, source);
}

/** Reads a secret from its file, without trailing line breaks. */
export const readSecretFile = (file: string): string => readFileSync(file, 'utf8').replace(/[\r\n]+$/, '');

function readSecretVariable(setting: Setting, env: Environment): Given | string | undefined {
  const variable = `${setting.env}_FILE`;
  const file = env[variable];
  if (!setting.secret || file === undefined || file === '') return undefined;
  // An empty value next to a file counts as absent, as is usual for …_FILE.
  if ((env[setting.env] ?? '') !== '')
    return `${setting.env} and ${variable} are both given; keep one of them`;
  try {
    return { value: readSecretFile(file), source: { kind: 'secret_file', variable, file } };
  } catch (error) {
    return `${variable} must name a readable file, got "${file}" (${systemCode(error)})`;
  }
}

/** Reads settings from the environment, secrets also from the files named by `…_FILE`. */
export function readEnvironment(env: Environment): SourceReading {
  const given = new Map<SettingPath, Given>();
  const faults: string[] = [];
  const unread: SettingPath[] = [];
  for (const setting of settings) {
    const value = env[setting.env];
    const fromFile = readSecretVariable(setting, env);
    if (typeof fromFile === 'string') {
      faults.push(fromFile);
      unread.push(setting.path);
    } else if (fromFile) given.set(setting.path, fromFile);
    else if (value !== undefined) given.set(setting.path, { value, source: { kind: 'environment' } });
  }
  return { given, faults, unread };
}

/**
 * Warnings about variables that look like a typing error: similar to a setting of the same section, or the
 * file of a setting that is no secret. Other variables with the same prefixes belong to other tools or
 * Kubernetes (`STRIPE_WEBHOOK_SECRET`, `MONGODB_PORT_27017_TCP`).
 */
export function suspectVariables(env: Environment): string[] {
  const known = new Set(
    settings.flatMap(({ env: name, secret }) => (secret ? [name, `${name}_FILE`] : [name])),
  );
  const suspects: string[] = [];
  for (const name of Object.keys(env).sort()) {
    const prefix = sections
      .map((section) => `${envName(section)}_`)
      .find((candidate) => name.startsWith(candidate));
    if (prefix === undefined || known.has(name)) continue;
    if (name.endsWith('_FILE') && known.has(name.slice(0, -'_FILE'.length))) {
      suspects.push(`${name} is ignored: only secrets are read from files`);
      continue;
    }
    const rest = [...known]
      .filter((candidate) => candidate.startsWith(prefix))
      .map((candidate) => candidate.slice(prefix.length));
    const best = nearest(name.slice(prefix.length), rest);
    if (best !== undefined) suspects.push(`${name} is ignored; did you mean ${prefix}${best}?`);
  }
  return suspects;
}
