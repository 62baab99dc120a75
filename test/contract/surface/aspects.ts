// The public surface as texts, one an aspect: all that users may have built on. Written to files by write.ts, compared by surface.test.ts.
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { allHelp } from './help.js';
import { type Library, readLibrary } from './library.js';
import {
  collectionPlans,
  exitCodes,
  laneOf,
  metricPrefix,
  metricSpecs,
  requestStatuses,
  settings,
  valueAt,
  validator,
  view,
} from './sources.js';

export const aspectNames = ['library', 'command-line', 'metrics', 'settings', 'requests', 'mongodb'] as const;
export type AspectName = (typeof aspectNames)[number];

/** The file that keeps the aspect. */
export const fileOf = (name: AspectName): URL => new URL(`${name}.txt`, import.meta.url);

/** The surface as it is now. */
export async function currentSurface(): Promise<Record<AspectName, string>> {
  const library = readLibrary();
  const texts = {
    library: library.report,
    'command-line': await allHelp(),
    metrics: metricsText(),
    settings: settingsText(),
    requests: requestsText(library),
    mongodb: mongodbText(),
  };
  const files = Object.entries(texts).map(([name, text]) => [name, `${text.trimEnd()}\n`]);
  return Object.fromEntries(files) as typeof texts; // the same keys
}

function metricsText(): string {
  const blocks = metricSpecs.map(([name, spec]) => {
    const labels = Object.entries(spec.labels).map(
      ([label, values]) => `  ${label}: ${'from' in values ? `from ${values.from}` : values.join(', ')}`,
    );
    const buckets = spec.type === 'histogram' ? [`  buckets: ${spec.buckets.join(', ')}`] : [];
    return [`${metricPrefix}${name} ${spec.type}, ${spec.scope}`, ...labels, ...buckets].join('\n');
  });
  return blocks.toSorted().join('\n');
}

function settingsText(): string {
  const file = new URL('../../../config/default.yaml', import.meta.url);
  const defaults: unknown = parse(readFileSync(file, 'utf8'));
  const blocks = settings.map(({ path, env, allowed, secret }) =>
    [
      path,
      `  environment: ${env}${secret ? `, ${env}_FILE` : ''}`,
      `  default: ${JSON.stringify(valueAt(defaults, path))}`,
      `  allowed: ${allowed}`,
    ].join('\n'),
  );
  return blocks.toSorted().join('\n');
}

function requestsText({ unionOf }: Library): string {
  const commands = Object.entries(laneOf).map(([command, lane]) => `${command}: lane ${lane}`);
  const codes = Object.entries(exitCodes).map(([meaning, code]) => `${code}: ${meaning}`);
  return [
    section('Commands', commands.toSorted()),
    section('Statuses', requestStatuses.toSorted()),
    section('Codes of faults', unionOf('FaultCode').toSorted()),
    section('Exit codes of the command line', codes.toSorted()),
  ].join('\n\n');
}

function mongodbText(): string {
  const collections = collectionPlans.map(({ name, indexes }) =>
    section(
      `Collection ${name}`,
      indexes.map((index) => `index ${index.name}: ${JSON.stringify(withoutName(index))}`).toSorted(),
    ),
  );
  const { name, ...definition } = view;
  return [
    ...collections.toSorted(),
    section(`View ${name}`, [JSON.stringify(definition)]),
    `Validator of requests, version ${validator.version}\n${JSON.stringify(validator.rules, null, 2)}`,
  ].join('\n\n');
}

const withoutName = ({ name: _name, ...rest }: (typeof collectionPlans)[number]['indexes'][number]) => rest;

const section = (title: string, lines: readonly string[]): string =>
  [title, ...lines.map((line) => `  ${line}`)].join('\n');
