// A real Prometheus for tests, on 127.0.0.1 only: it scrapes what it is told of and evaluates the chart's rules. It ends with the test that
// has started it. Where it is not installed the tests that need it are skipped; .ci/rules installs it.
import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { atEnd } from './cleanup.js';
import { freePort } from './process.js';
import { until } from './until.js';

const rules = fileURLToPath(new URL('../../helm/stripe-mongo-sync/rules/', import.meta.url));

/** Time between two scrapes, and between two evaluations of the rules. */
export const scrapeSeconds = 1;

export type Labels = Readonly<Record<string, string>>;
/** Unix time in seconds, and a value. */
export type Point = readonly [number, number];

interface Series {
  readonly metric: Labels;
  /** One of an instant query. */
  readonly points: readonly Point[];
}

interface Rule {
  readonly name: string;
  readonly type: 'alerting' | 'recording';
  readonly health: 'ok' | 'err' | 'unknown';
  readonly lastError?: string;
  /** Of an alert. */
  readonly state?: 'inactive' | 'pending' | 'firing';
}

interface Range {
  readonly start: number;
  readonly end: number;
  readonly step: number;
}

export interface Prometheus {
  /** Scrapes `/metrics` at the address under these labels from now on. */
  scrape: (address: string, labels: Labels) => Promise<void>;
  /** Rejects where Prometheus refuses the query or warns of it. */
  query: (expr: string, at: number) => Promise<readonly Series[]>;
  /** As `query`, over a time. */
  queryRange: (expr: string, range: Range) => Promise<readonly Series[]>;
  /** Values of a label over all series that match. */
  labelValues: (label: string, match: string) => Promise<readonly string[]>;
  rules: () => Promise<readonly Rule[]>;
}

/** The program on the PATH; undefined where there is none. */
export function findPrometheus(): string | undefined {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'prometheus'))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Starts one with the chart's rules and nothing to scrape yet; it answers when this returns. */
export async function startPrometheus(binary: string): Promise<Prometheus> {
  const folder = await mkdtemp(join(tmpdir(), 'prometheus-'));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  const targets = join(folder, 'targets');
  await mkdir(targets);
  const config = join(folder, 'prometheus.json');
  await writeFile(config, JSON.stringify(configOf(targets))); // JSON is YAML
  const address = `127.0.0.1:${await freePort()}`;
  const server = run(binary, [
    `--config.file=${config}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=${address}`,
    '--log.level=warn',
  ]);
  const url = `http://${address}`;
  await until(
    async () => {
      server.throwIfEnded();
      return (await fetch(`${url}/-/ready`)).ok;
    },
    { what: 'Prometheus to be ready', timeoutMs: 30_000 },
  );

  let count = 0;
  return {
    ...readerOf(url),
    scrape: async (target, labels) => {
      count += 1;
      // Renamed, as Prometheus reads a file whenever it is written to.
      const file = join(targets, `${count}.json`);
      await writeFile(`${file}.new`, JSON.stringify([{ targets: [target], labels }]));
      await rename(`${file}.new`, file);
    },
  };
}

const configOf = (targets: string): object => ({
  global: {
    scrape_interval: `${scrapeSeconds}s`,
    scrape_timeout: `${scrapeSeconds}s`,
    evaluation_interval: `${scrapeSeconds}s`,
  },
  rule_files: [join(rules, '*.yaml')],
  scrape_configs: [
    {
      job_name: 'pods',
      // As the chart's monitors say: the label `endpoint` of a metric is not that of the scrape.
      honor_labels: true,
      file_sd_configs: [{ files: [join(targets, '*.json')], refresh_interval: '1s' }],
    },
  ],
});

interface Server {
  /** Throws, with what it said, where it is gone. */
  throwIfEnded: () => void;
}

function run(binary: string, args: readonly string[]): Server {
  const child = spawn(binary, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  let ended: string | undefined;
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-5_000)));
  const exit = new Promise<void>((resolve) => {
    child.once('error', (error) => {
      ended = `cannot be started (${error.message})`;
      resolve();
    });
    child.once('close', (code, signal) => {
      ended ??= `ended with ${code ?? signal ?? 'nothing'}`;
      resolve();
    });
  });
  // What it has stored is thrown away: it need not save it.
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  atEnd(async () => {
    kill();
    await exit;
    process.off('exit', kill);
  });
  return {
    throwIfEnded: () => {
      if (ended !== undefined) throw new Error(`${binary} ${ended}; it said:\n${said}`);
    },
  };
}

interface Answer<T> {
  readonly status: 'success' | 'error';
  readonly data: T;
  readonly error?: string;
  readonly warnings?: readonly string[];
}

interface Found {
  readonly result: readonly {
    readonly metric: Labels;
    readonly value?: readonly [number, string];
    readonly values?: readonly (readonly [number, string])[];
  }[];
}

/** https://prometheus.io/docs/prometheus/latest/querying/api/ */
function readerOf(url: string): Omit<Prometheus, 'scrape'> {
  const ask = async <T>(path: string, form?: URLSearchParams): Promise<T> => {
    const answer = await fetch(`${url}/api/v1/${path}`, form && { method: 'POST', body: form });
    const { status, data, error, warnings = [] } = (await answer.json()) as Answer<T>;
    const complaints = status === 'success' ? warnings : [error ?? 'no reason given'];
    if (complaints.length > 0) throw new Error(`${complaints.join('; ')}: ${form?.get('query') ?? path}`);
    return data;
  };
  const found = async (path: string, form: Record<string, string>): Promise<readonly Series[]> =>
    (await ask<Found>(path, new URLSearchParams(form))).result.map(({ metric, value, values }) => ({
      metric,
      points: (values ?? (value ? [value] : [])).map(([at, text]) => [at, numberOf(text)] as const),
    }));
  return {
    query: (query, at) => found('query', { query, time: String(at) }),
    queryRange: (query, { start, end, step }) =>
      found('query_range', { query, start: String(start), end: String(end), step: String(step) }),
    labelValues: (label, match) =>
      ask(`label/${label}/values?${new URLSearchParams({ 'match[]': match }).toString()}`),
    rules: async () => {
      const { groups } = await ask<{ groups: readonly { rules: readonly Rule[] }[] }>('rules');
      return groups.flatMap((group) => group.rules);
    },
  };
}

/** Prometheus writes `+Inf`. */
const numberOf = (text: string): number => Number(text.replace('Inf', 'Infinity'));
