// What bench/requests.ts has found, as JSON and as its section of bench/RESULTS.md, with the bars it is held against.
import type { Backlog } from './requests-backlog.js';
import { type Measured, warmUpSeconds } from './requests-load.js';
import { table, writeSection } from './results.js';

type Latencies = Record<string, Measured>;

interface Found {
  /** Insertions a second. */
  readonly rate: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly customers: number;
  readonly latencies: { readonly stream: Latencies; readonly polling: Latencies };
  readonly backlog: Backlog;
}

export interface Report extends Found {
  /** p99 with the change stream as a share of p99 when polling. */
  readonly shareOfPolling: Readonly<Record<string, number>>;
  readonly holds: boolean;
}

/** p99 with the change stream is to be at most this share of p99 when polling each second. */
const mostShare = 0.1;

export function reportOf({ rate, seconds, rounds, customers, latencies, backlog }: Found): Report {
  const shareOfPolling = Object.fromEntries(
    Object.entries(latencies.stream).map(([kind, { latency }]) => {
      const polled = latencies.polling[kind]?.latency.p99Ms ?? Number.NaN;
      return [kind, Number((latency.p99Ms / polled).toFixed(3))];
    }),
  );
  const holds = Object.values(shareOfPolling).every((share) => share <= mostShare);
  return { rate, seconds, rounds, customers, latencies, backlog, shareOfPolling, holds };
}

/** Writes the section and returns its tables. */
export async function writeResults(
  report: Report,
  made: { readonly command: string; readonly versions: Record<string, string> },
): Promise<string> {
  const { latencies, backlog } = report;
  const columns = [
    ...['request', 'wake-ups', 'a second', 'p50', 'p99', 'longest'],
    ...['until claimed: p50', 'p99', 'CPU of the daemon', 'p99 of polling', 'at most a tenth'],
  ];
  const rows = Object.keys(latencies.stream).flatMap((kind) => [
    row(report, kind, 'stream'),
    row(report, kind, 'polling'),
  ]);
  const body = [
    `One daemon with its defaults works on requests of ${report.rate} insertions a second for ${report.seconds} s a row, after ${warmUpSeconds} s at half of that,`,
    `beside a scan of ${report.customers} customers that never stops. A waiting client sees a request end through \`requests.result\`: the time is from the`,
    'acknowledged insertion until it has the document. `softDelete` and `syncBatch` run beside a scan at 10 calls a second; `syncByIds`, one id each, without any limit,',
    `the scan slowed to about the same by the simulator. Of ${report.rounds} rounds each row is the one with the middle p99. Polling is the same daemon without`,
    'its change stream, each second. Daemon, clients, MongoDB and simulator share the machine.',
    '',
    table(columns, rows),
    '',
    `A backlog of ${backlog.count} \`softDelete\`, one daemon, no scan: ${backlog.seconds} s, ${backlog.perSecond} a second.`,
  ].join('\n');
  const title = 'Requests beside a running scan';
  await writeSection({ name: 'requests', title, ...made, body });
  return body;
}

function row(report: Report, kind: string, wakeUps: 'stream' | 'polling'): string[] {
  const measured = report.latencies[wakeUps][kind];
  if (!measured) throw new Error(`${kind} was not measured`);
  const { latency, claimWait, perSecond, daemonCpuMs } = measured;
  const share = report.shareOfPolling[kind] ?? Number.NaN;
  const bar =
    wakeUps === 'stream'
      ? [`${(share * 100).toFixed(1)} %`, share <= mostShare ? 'met' : 'MISSED']
      : ['', ''];
  const times = [latency.p50Ms, latency.p99Ms, latency.maxMs, claimWait.p50Ms, claimWait.p99Ms, daemonCpuMs];
  const names = { stream: 'change stream', polling: 'poll each second' };
  return [`\`${kind}\``, names[wakeUps], String(perSecond), ...times.map((ms) => `${ms} ms`), ...bar];
}
