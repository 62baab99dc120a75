// The configuration for people: YAML with secrets masked. Nothing else prints settings.
import { Document, isMap, isScalar } from 'yaml';
import type { Config, SettingPath } from './schema.js';
import { type Setting, settings } from './settings.js';
import { describeSource, type SettingSource } from './sources.js';

const secretOptions = /([?&](?:authMechanismProperties|[^=&]*password)=)[^&]*/gi;

/**
 * A connection string without credentials. Everything up to the last `@` is removed, because an unescaped `@`
 * in a password must not reveal the rest.
 */
function maskUri(uri: string): string {
  const scheme = /^mongodb(?:\+srv)?:\/\//.exec(uri)?.[0];
  if (scheme === undefined) return '…';
  const rest = uri.slice(scheme.length);
  const at = rest.lastIndexOf('@');
  return scheme + (at < 0 ? '' : '***:***@') + rest.slice(at + 1).replace(secretOptions, '$1***');
}

/** `rk_test_…abcd`: kind, mode and the last four characters, which Stripe's dashboard also shows. */
function maskKey(key: string): string {
  const [, prefix = '', rest = ''] = /^((?:sk|rk|pk)_(?:test|live)_)?(.*)$/s.exec(key.trim()) ?? [];
  return rest.length >= 12 && prefix !== '' ? `${prefix}…${rest.slice(-4)}` : `${prefix}…`;
}

/** A masked secret; `''` stays `''`. */
function maskSecret(setting: Pick<Setting, 'path'>, value: string): string {
  if (value === '') return '';
  return setting.path === 'mongodb.uri' ? maskUri(value) : maskKey(value);
}

/** A setting's value for an error: quoted, shortened, masked. */
export function showValue(setting: Setting, value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  if (typeof value === 'number') return setting.secret ? 'a number' : String(value);
  if (!setting.secret) {
    const shown = JSON.stringify(value).replace(/\/\/[^/"]*@/, '//***@');
    return shown.length > 100 ? `${shown.slice(0, 99)}…` : shown;
  }
  if (typeof value !== 'string') return `a ${typeof value}`;
  const padded = value !== value.trim() ? ' with white space around it' : '';
  return `"${maskSecret(setting, value)}" (${value.length} characters)${padded}`;
}

/** The configuration with secrets masked, for logs and `check-config`. */
export function maskedConfig(config: Config): Config {
  const masked = structuredClone(config);
  masked.stripe.apiKey = maskSecret({ path: 'stripe.apiKey' }, config.stripe.apiKey);
  masked.mongodb.uri = maskSecret({ path: 'mongodb.uri' }, config.mongodb.uri);
  return masked;
}

/**
 * The effective configuration as YAML with secrets masked. With `sources`, each setting that is no default
 * has its source.
 */
export function formatConfig(config: Config, sources?: ReadonlyMap<SettingPath, SettingSource>): string {
  const document = new Document(maskedConfig(config));
  for (const { path } of settings) {
    const source = sources?.get(path);
    const node = document.getIn(path.split('.'), true);
    if (source && source.kind !== 'default' && isScalar(node)) {
      node.comment = ` ${describeSource(source)}`;
    }
  }
  if (isMap(document.contents)) {
    for (const [index, pair] of document.contents.items.entries()) {
      if (index > 0 && isScalar(pair.key)) pair.key.spaceBefore = true;
    }
  }
  return document.toString({ lineWidth: 0 });
}
