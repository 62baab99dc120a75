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
import { requestCells, requestColumns } from './screen/request-text.js';
import { jsonOf, rowOf } from './screen/summary.js';
import {
  alignedFacts,
  count,
  counted,
  type Fact,
  secondsBetween,
  shortDuration,
  tableLines,
  timeText,
} from './screen/table.js';
import type { Terminal } from './screen/terminal.js';
import { withSession } from './session.js';

export const printStatus = (terminal: Terminal, { json }: { readonly json?: true }): Promise<ExitCode> =>
  withSession(terminal, async ({ database, signal, now }) => {
    const status = await readStatus({ database, at: await now(), signal });
    terminal.result(json ? jsonOf(plainStatus(status)) : statusText(status, terminal.screen?.columns));
    return exitCodes.succeeded;
  });

const plainStatus = (status: Status): object => ({
  ...status,
  running: status.running === notPermitted ? notPermitted : status.running.map(rowOf),
});

/** `width` is that of the terminal. */
function statusText(status: Status, width?: number): string {
  const { at, mirrorOf, mirror, lastCompleteScanAt, schedule, waiting, running, kept, rate, replicas } =
    status;
  const facts: readonly Fact[] = [
    ['database', databaseText(status.database, mirrorOf)],
    ['mirror', told(mirror, mirrorText)],
    ['complete scan', told(lastCompleteScanAt, (time) => completeText(time, at))],
    ['schedule', told(schedule, scheduleText)],
    ['next scans', told(schedule, (cron) => nextText(cron, at))],
    ['waiting', told(waiting, (backlog) => waitingText(backlog, at))],
    ['running', told(running, ({ length }) => (length === 0 ? 'nothing' : count(length)))],
    ['failures', told(kept, keptText)],
    ['rate', told(rate, (budget) => rateText(budget, at))],
    ['this month', told(rate, ({ callsThisMonth }) => counted(callsThisMonth, 'call'))],
    ['replicas', told(replicas, replicasText)],
  ];
  const lines = [...alignedFacts(facts), ...runningLines(status, width), ...replicaLines(status, width)];
  return lines.join('\n');
}

/** The part of the status, where the user may read it. */
type Told<Name extends keyof Status> = Exclude<Status[Name], typeof notPermitted>;

const told = <T>(part: Part<T>, text: (value: T) => string): string =>
  part === notPermitted ? notPermitted : text(part); // everything else is the part itself

function databaseText(database: string, mirrorOf: Status['mirrorOf']): string {
  if (mirrorOf === notPermitted) return database;
  if (!mirrorOf) return `${database}, not bound to an account yet`;
  const account = mirrorOf.accountId === null ? '' : `, account ${mirrorOf.accountId}`;
  return `${database}, ${mirrorOf.livemode ? 'live' : 'test'} mode${account}`;
}

const mirrorText = (mirror: Told<'mirror'>): string =>
  Object.entries(mirror)
    .map(([object, { live, deleted }]) => `${counted(live, object)}, ${count(deleted)} marked as deleted`)
    .join('; ');

const completeText = (at: Date | null, now: Date): string =>
  at ? `${timeText(at)} (${agoText(at, now)})` : 'none yet';

const agoText = (at: Date, now: Date): string => `${shortDuration(secondsBetween(at, now))} ago`;

function scheduleText(schedule: Schedule | null): string {
  if (!schedule) return 'none: no daemon has set one yet';
  const { expression, timezone } = schedule;
  return expression === '' ? 'none: SYNC_ALL_SCHEDULE is empty' : `${expression}, ${timezone}`;
}

/** A narrow terminal has room for this many. */
const slotsShown = 2;

function nextText(schedule: Schedule | null, now: Date): string {
  const [first, ...later] = (schedule?.next ?? []).slice(0, slotsShown);
  if (!first) return 'none';
  const soon = `${timeText(first)} (in ${shortDuration(secondsBetween(now, first))})`;
  return [soon, ...later.map(timeText)].join(', ');
}

function waitingText({ count: all, due, oldestSince }: Told<'waiting'>, now: Date): string {
  if (all === 0) return 'nothing';
  const later = all - due;
  const oldest = oldestSince ? `, the oldest for ${shortDuration(secondsBetween(oldestSince, now))}` : '';
  return `${count(due)} due${oldest}${later > 0 ? `; ${count(later)} later` : ''}`;
}

function keptText({ failed, partial }: Told<'kept'>): string {
  if (failed + partial === 0) return 'nothing';
  return `${count(failed)} failed, ${count(partial)} partial: see "requests list --failed"`;
}

function rateText(rate: Rate, now: Date): string {
  const { callsPerSecond, limit, limitPerEndpoint, share, slowedAt } = rate;
  const most = (value: number): string => (value === 0 ? 'none' : count(value));
  const limits =
    limit === null || limitPerEndpoint === null
      ? ''
      : `, limit ${most(limit)} (per endpoint ${most(limitPerEndpoint)})`;
  const slowed = share < 1 ? `, slowed to ${Math.round(share * 100)} %` : '';
  const refused = slowedAt ? `, last refused ${agoText(slowedAt, now)}` : '';
  return `${callsPerSecond} calls/s${limits}${slowed}${refused}`;
}

function replicasText(replicas: Told<'replicas'>): string {
  const alive = replicas.filter(({ isAlive }) => isAlive).length;
  const gone = replicas.length - alive;
  const lost = gone > 0 ? `; ${count(gone)} disappeared in the last 24 h` : '';
  return `${alive === 0 ? 'none running' : count(alive)}${lost}`;
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
    agoText(seenAt, at),
    isAlive
      ? [...(scan > 0 ? ['a scan'] : []), ...(small > 0 ? [counted(small, 'request')] : [])].join(', ')
      : '',
  ]);
  return ['', ...tableLines(columns, rows, width)];
}
