// Runs every row that is promised of scans, says of each what was measured and whether that is enough, and keeps it in RESULTS.md.
import { setTimeout as sleep } from 'node:timers/promises';
import type { RemoteSimulator } from 'stripe-simulator';
import { until } from '../test/support/until.js';
import { build, type Build } from './build.js';
import { runLoop } from './loop.js';
import { table, writeSection } from './results.js';
import { type Account, type Server, startServer } from './scan-place.js';
import {
  inWords,
  mostEventLoopDelayMs,
  type RateRow,
  rateRows,
  sameSecondRow,
  unlimitedRow,
} from './scan-rows.js';
import { nodeFlags, type RunOptions, runScan, type ScanFigures } from './scan-run.js';
import { middleBy } from './support/percentiles.js';

export interface TableOptions {
  /** Names of rows; all of them where absent. */
  readonly only?: readonly string[] | undefined;
  readonly say: (line: string) => void;
  readonly isJson: boolean;
}

interface Check {
  readonly what: string;
  readonly measured: string;
  readonly bar: string;
  readonly isMet: boolean;
}

interface Row {
  readonly name: string;
  readonly title: string;
  readonly figures: readonly ScanFigures[];
  readonly checks: readonly Check[];
}

interface Bench {
  readonly built: Build;
  readonly server: Server;
  readonly done: Row[];
}

/** @returns whether every bar was met. RESULTS.md is written only where all rows were run. */
export async function runTable({ only, say, isJson }: TableOptions): Promise<boolean> {
  const bench: Bench = { built: await build(), server: await startServer(), done: [] };
  const steps: readonly (readonly [string, () => Promise<Row>])[] = [
    ...rateRows.map((row) => [row.name, () => runRateRow(bench, row)] as const),
    [sameSecondRow.name, () => runSameSecond(bench)],
    [unlimitedRow.name, () => runUnlimited(bench)],
  ];
  for (const [name, run] of steps) {
    if (only && !only.includes(name)) continue;
    say(`Running ${name}`);
    const row = await run();
    bench.done.push(row);
    for (const { what, measured, bar, isMet } of row.checks)
      say(`  ${isMet ? 'met   ' : 'MISSED'} ${what}: ${measured} (${bar})`);
    if (isJson) process.stdout.write(`${JSON.stringify(row)}\n`);
  }
  const checks = bench.done.flatMap((row) => row.checks);
  if (!only) await keep(bench);
  const missed = checks.filter(({ isMet }) => !isMet).length;
  process.stdout.write(`${JSON.stringify({ checks: checks.length, missed })}\n`);
  return missed === 0;
}

async function withAccount<T>(
  { built, server }: Bench,
  account: Account,
  use: (place: {
    simulator: RemoteSimulator;
    scan: (rate: number, options?: RunOptions) => Promise<ScanFigures>;
    anew: () => Promise<string>;
  }) => Promise<T>,
): Promise<T> {
  const opened = await server.open(account);
  const { simulator } = opened;
  const stripe = { url: simulator.url, key: simulator.restrictedKey };
  let mongodb = await server.database();
  try {
    return await use({
      simulator,
      scan: (rate, options) => runScan({ daemon: built.daemon, stripe, mongodb }, { rate }, options),
      anew: async () => (mongodb = await server.database()).uri,
    });
  } finally {
    await opened.close();
  }
}

async function runRateRow(bench: Bench, row: RateRow): Promise<Row> {
  const { account, rate } = row;
  return withAccount(bench, account, async ({ simulator, scan }) => {
    const figures = await scan(rate);
    return {
      name: row.name,
      title: inWords(account, rate),
      figures: [figures],
      checks: [...rateChecks(row, figures, bench.done), ...(await commonChecks(figures, simulator, rate))],
    };
  });
}

function rateChecks(row: RateRow, figures: ScanFigures, done: readonly Row[]): Check[] {
  const { leastShare, mostPages, mostMiB, mostMemoryOf } = row;
  const ceiling = row.rate * 100;
  const share = figures.customersPerSecond / ceiling;
  const pages = figures.pages / (row.account.customers / 100);
  const other = done.find(({ name }) => name === mostMemoryOf?.row)?.figures[0];
  return [
    ...(leastShare === undefined ? [] : [atLeast('share of the ceiling', share, leastShare, percent)]),
    ...(mostPages === undefined ? [] : [atMost('pages × 100 / customers', pages, mostPages, factor)]),
    ...(mostMiB === undefined ? [] : [atMost('peak memory', figures.peakRssMiB, mostMiB, mebibytes)]),
    ...(mostMemoryOf === undefined || !other
      ? []
      : [
          atMost(
            'peak memory, times that of 100,000',
            figures.peakRssMiB / other.peakRssMiB,
            mostMemoryOf.factor,
            factor,
          ),
        ]),
  ];
}

/** What must hold of every scan: all are there, none twice, and nothing else waits for it. */
async function commonChecks(
  figures: ScanFigures,
  simulator: RemoteSimulator,
  rate: number,
): Promise<Check[]> {
  const listed = await simulator.listedCount();
  const { callsPerSecond } = await simulator.stats();
  return [
    exactly('customers in the mirror', figures.living, listed),
    exactly('customers counted', figures.customers, listed),
    atMost('event loop delay, p99', figures.eventLoopDelayP99Ms, mostEventLoopDelayMs, (ms) => `${ms} ms`),
    ...(rate === 0
      ? []
      : // Calls let go evenly still arrive a little unevenly.
        [atMost('calls in any one second', callsPerSecond, Math.ceil(rate * 1.1), String)]),
  ];
}

async function runSameSecond(bench: Bench): Promise<Row> {
  const { account, rate, observedSeconds, leastShareMeanwhile } = sameSecondRow;
  return withAccount(bench, account, async ({ simulator, scan }) => {
    const listCalls = async (): Promise<number> => (await simulator.stats()).calls['GET /v1/customers'] ?? 0;
    let meanwhile = 0;
    const beside = async (): Promise<void> => {
      const before = await until(async () => listCalls(), { what: 'the first page', timeoutMs: 60_000 });
      const from = performance.now();
      await sleep(observedSeconds * 1_000);
      const calls = (await listCalls()) - before;
      meanwhile = calls / ((performance.now() - from) / 1_000) / rate;
    };
    const figures = await scan(rate, { beside });
    return {
      name: sameSecondRow.name,
      title: `${inWords(account, rate)} (20,000 in one)`,
      figures: [figures],
      checks: [
        atLeast(
          `share of the rate in the first ${observedSeconds} s`,
          meanwhile,
          leastShareMeanwhile,
          percent,
        ),
        ...(await commonChecks(figures, simulator, rate)),
      ],
    };
  });
}

async function runUnlimited(bench: Bench): Promise<Row> {
  const { account, rounds, leastOfBareLoop, mostOfFirstTime, changed, removed } = unlimitedRow;
  return withAccount(bench, account, async ({ simulator, scan, anew }) => {
    const stripe = { url: simulator.url, key: simulator.restrictedKey };
    const speeds: number[] = [];
    const times: number[] = [];
    const figures: ScanFigures[] = [];
    let rewritten = 0;
    for (let round = 0; round < rounds; round += 1) {
      const bare = await runLoop('bare', bench.built, { stripe, uri: await anew() });
      await anew();
      const first = await scan(0);
      const again = await scan(0, { countsStoredWrites: true });
      speeds.push(first.customersPerSecond / bare.customersPerSecond);
      times.push(again.seconds / first.seconds);
      figures.push(first, again);
      rewritten += again.writes + (again.storedWrites ?? 0);
    }
    const common = await commonChecks(figures[0]!, simulator, 0);
    await simulator.deleteRandom(removed, { event: false });
    await simulator.updateRandom(changed, { event: false });
    const last = await scan(0, { countsStoredWrites: true });
    return {
      name: unlimitedRow.name,
      title: inWords(account, 0),
      figures: [...figures, last],
      checks: [
        atLeast(`speed, times a bare loop's (median of ${rounds})`, median(speeds), leastOfBareLoop, factor),
        exactly('writes when nothing has changed', rewritten, 0),
        atMost(`time of that, times the first (median of ${rounds})`, median(times), mostOfFirstTime, factor),
        exactly(
          `writes when ${changed} have changed and ${removed} were removed`,
          last.storedWrites ?? -1,
          changed + removed,
        ),
        exactly('of these in the result', last.writes, changed + removed),
        ...common,
      ],
    };
  });
}

async function keep({ server, done }: Bench): Promise<void> {
  const lines = done.flatMap(({ title, checks }) =>
    checks.map(({ what, measured, bar, isMet }, index) => [
      index === 0 ? title : '',
      what,
      measured,
      bar,
      isMet ? 'yes' : '**no**',
    ]),
  );
  const figures = done.flatMap(({ name, figures: all }) =>
    all.map((each) => [
      name,
      each.seconds.toFixed(1),
      each.customersPerSecond.toLocaleString('en'),
      String(each.pages),
      each.writes.toLocaleString('en'),
      String(each.peakRssMiB),
      each.cpuSeconds.toFixed(1),
    ]),
  );
  const intro = `Full syncs by the compiled daemon with \`${nodeFlags.join(' ')}\`, Stripe's simulator and MongoDB each in a process of its own on the same machine. A customer takes about 1,600 bytes in a page. The ceiling is the rate × 100 customers a second.`;
  await writeSection({
    name: 'scan',
    title: 'Full sync',
    command: 'npm run bench:scan -- --table',
    versions: { MongoDB: server.version },
    body: [
      intro,
      table(['scan', 'what', 'measured', 'bar', 'met'], lines),
      'Each scan:',
      table(['scan', 'seconds', 'customers/s', 'pages', 'writes', 'peak MiB', 'CPU seconds'], figures),
    ].join('\n\n'),
  });
}

type Format = (value: number) => string;
const percent: Format = (value) => `${(value * 100).toFixed(1)} %`;
const factor: Format = (value) => value.toFixed(3);
const mebibytes: Format = (value) => `${value} MiB`;

const atLeast = (what: string, value: number, bar: number, format: Format): Check => ({
  what,
  measured: format(value),
  bar: `at least ${format(bar)}`,
  isMet: value >= bar,
});

const atMost = (what: string, value: number, bar: number, format: Format): Check => ({
  what,
  measured: format(value),
  bar: `at most ${format(bar)}`,
  isMet: value <= bar,
});

const exactly = (what: string, value: number, bar: number): Check => ({
  what,
  measured: value.toLocaleString('en'),
  bar: `exactly ${bar.toLocaleString('en')}`,
  isMet: value === bar,
});

const median = (values: readonly number[]): number => middleBy(values, (value) => value);
