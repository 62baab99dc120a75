// `status`, for a person or as one JSON document.
import { isEndStatus } from '../requests/request.js';
import {
  notPermitted,
  type Part,
  type Rate,
  readStatus,
  type Schedule,
  type Status,
} from '../status/status.js';
import { type ExitCode, exitCodes } from './faults.js';
import { requestCells, requestColumns, secondsBetween } from './screen/request-text.js';
import { jsonOf, rowOf } from './screen/summary.js';
import { count, counted, shortDuration, tableLines, timeText } from './screen/table.js';
import type { Terminal } from './screen/terminal.js';
import { databaseTime, withQueue } from './session.js';

export async function printStatus(terminal: Terminal, { json }: { readonly json?: true }): Promise<ExitCode> {
  return withQueue(terminal, async ({ db, requests, database }, signal) => {
    const status = await readStatus({ db, requests, database, at: await databaseTime(db), signal });
    terminal.result(json ? jsonOf(plainStatus(status)) : statusText(status, terminal.screen?.columns));
    return exitCodes.succeeded;
  });
}

const plainStatus = (status: Status): object => ({
  ...status,
  running: status.running === notPermitted ? notPermitted : status.running.map(rowOf),
});

/** `width` is that of the terminal. */
function statusText(status: Status, width?: number): string {
  const facts: [string, string | readonly string[]][] = [
    ['database', databaseText(status)],
    ['mirror', told(status.mirror, mirrorText)],
    ['complete', told(status.lastCompleteScanAt, (at) => completeText(at, status.at))],
    ['schedule', told(status.schedule, scheduleText)],
    ['next scans', told(status.schedule, (schedule) => nextText(schedule, status.at))],
    ['waiting', told(status.waiting, (waiting) => waitingText(waiting, status.at))],
    [
      'running',
      told(status.running, (running) => (running.length === 0 ? 'nothing' : count(running.length))),
    ],
    ['ended badly', told(status.kept, keptText)],
    ['rate', told(status.rate, (rate) => rateText(rate, status.at))],
    ['this month', told(status.rate, ({ callsThisMonth }) => counted(callsThisMonth, 'call'))],
    ['replicas', told(status.replicas, (replicas) => replicasText(replicas))],
  ];
  const names = Math.max(...facts.map(([name]) => name.length));
  return [
    ...facts.map(([name, text]) => `${name.padEnd(names)}  ${String(text)}`),
    ...runningLines(status, width),
    ...replicaLines(status, width),
  ].join('\n');
}

const told = <T>(part: Part<T>, text: (value: T) => string): string =>
  part === notPermitted ? notPermitted : text(part); // everything else is the part itself

function databaseText({ database, mirrorOf }: Status): string {
  if (mirrorOf === notPermitted) return database;
  if (!mirrorOf) return `${database}, bound to no account yet`;
  const account = mirrorOf.accountId === null ? '' : `, account ${mirrorOf.accountId}`;
  return `${database}, ${mirrorOf.livemode ? 'live' : 'test'} mode${account}`;
}

const mirrorText = (mirror: Readonly<Record<string, { live: number; deleted: number }>>): string =>
  Object.entries(mirror)
    .map(([object, { live, deleted }]) => `${counted(live, object)}, ${count(deleted)} marked as deleted`)
    .join('; ');

const completeText = (at: Date | null, now: Date): string =>
  at
    ? `${timeText(at)} (${shortDuration(secondsBetween(at, now))} ago)`
    : 'never: no scan has been complete yet';

function scheduleText(schedule: Schedule | null): string {
  if (!schedule) return 'none: no daemon has set one up yet';
  const { expression, timezone } = schedule;
  return expression === '' ? 'none: SYNC_ALL_SCHEDULE is empty' : `${expression}, ${timezone}`;
}

/** As many as a narrow terminal has room for. */
const slotsShown = 2;

function nextText(schedule: Schedule | null, now: Date): string {
  const [first, ...later] = (schedule?.next ?? []).slice(0, slotsShown);
  if (!first) return 'none';
  const soon = `${timeText(first)} (in ${shortDuration(secondsBetween(now, first))})`;
  return [soon, ...later.map(timeText)].join(', ');
}

function waitingText(
  { count: all, due, oldestSince }: Exclude<Status['waiting'], string>,
  now: Date,
): string {
  if (all === 0) return 'nothing';
  const later = all - due;
  const oldest = oldestSince ? `, the oldest for ${shortDuration(secondsBetween(oldestSince, now))}` : '';
  return `${count(due)} due${oldest}${later > 0 ? `; ${count(later)} later` : ''}`;
}

function keptText({ failed, partial }: Exclude<Status['kept'], string>): string {
  if (failed + partial === 0) return 'nothing';
  return `${count(failed)} failed, ${count(partial)} partial: "requests list --failed" shows them`;
}

function rateText(rate: Rate, now: Date): string {
  const { callsPerSecond, limit, limitPerEndpoint, share, slowedAt } = rate;
  const most = (value: number): string => (value === 0 ? 'any number' : count(value));
  const limits =
    limit === null || limitPerEndpoint === null
      ? ''
      : ` of ${most(limit)} (${most(limitPerEndpoint)} to an endpoint)`;
  const slowed = share < 1 ? `, slowed to ${Math.round(share * 100)} %` : '';
  const refused = slowedAt ? `, refused ${shortDuration(secondsBetween(slowedAt, now))} ago` : '';
  return `${callsPerSecond} calls/s${limits}${slowed}${refused}`;
}

function replicasText(replicas: Exclude<Status['replicas'], string>): string {
  const alive = replicas.filter(({ isAlive }) => isAlive);
  const gone = replicas.length - alive.length;
  const lost = gone > 0 ? `; ${count(gone)} went without a word in the last day` : '';
  return `${alive.length === 0 ? 'none is there' : count(alive.length)}${lost}`;
}

function runningLines({ running, at }: Status, width?: number): readonly string[] {
  if (running === notPermitted || running.length === 0) return [];
  const rows = running
    .filter(({ status }) => !isEndStatus(status))
    .map((request) => requestCells(request, at));
  return ['', ...tableLines(requestColumns, rows, width)];
}

function replicaLines({ replicas, at }: Status, width?: number): readonly string[] {
  if (replicas === notPermitted || replicas.length === 0) return [];
  const columns = [
    { header: 'REPLICA' },
    { header: 'VERSION' },
    { header: 'UP', align: 'right' },
    { header: 'SEEN', align: 'right' },
    { header: 'WORKS ON' },
  ] as const;
  const rows = replicas.map(({ owner, version, startedAt, seenAt, isAlive, running: { small, scan } }) => [
    owner,
    version,
    isAlive ? shortDuration(secondsBetween(startedAt, at)) : 'gone',
    `${shortDuration(secondsBetween(seenAt, at))} ago`,
    isAlive
      ? [...(scan > 0 ? ['a scan'] : []), ...(small > 0 ? [counted(small, 'request')] : [])].join(', ')
      : '',
  ]);
  return ['', ...tableLines(columns, rows, width)];
}
