// What the commands that make requests do: insert them, follow them to their ends, tell how they ended.
import { isFault } from '../errors.js';
import { newRequest, type NewRequest } from '../requests/commands.js';
import type { CommandInput, SyncRequestDocument } from '../requests/document.js';
import { exitCodes, type ExitCode } from './exit-code.js';
import { followToEnd, type RequestView } from './follow.js';
import { insertRequests } from './insert.js';
import type { Job, RequestCommandOptions } from './job.js';
import { interruptibly, withinSeconds } from './interruption.js';
import { openQueue, type Queue } from './open-queue.js';
import { createProgressDisplay } from './progress-display.js';
import { progressText } from './progress-text.js';
import { overallStatus, requestJson, summaryText } from './summary.js';
import type { Terminal } from './terminal.js';
import { waitingNotice } from './waiting-notice.js';
import { counted } from './wording.js';

/**
 * Inserts the requests, follows them to their ends and prints how they ended.
 * @throws Fault where that is not possible; `Interrupted` and `OutOfTime` when it was ended early
 */
export async function runJob(
  terminal: Terminal,
  options: RequestCommandOptions,
  job: Job,
): Promise<ExitCode> {
  const requests = job.inputs.map((input) => requestOf(input, options));
  return interruptibly(async (signal) => {
    const queue = await openQueue(terminal, { isInProcess: options.inProcess === true, signal });
    try {
      await insert(terminal, queue, requests, signal);
      if (!options.wait) return printIds(terminal, requests, options);
      const ended = await withinSeconds(options.timeout, signal, (limited) =>
        followHere(terminal, queue, { requests, entries: job.entries, signal: limited }),
      );
      return await print(terminal, queue, ended, options);
    } finally {
      await queue.close();
    }
  });
}

const requestOf = (input: CommandInput, { dryRun }: RequestCommandOptions): NewRequest =>
  newRequest({ ...input, requestedBy: 'cli', ...(dryRun && { dryRun }) });

async function insert(
  terminal: Terminal,
  { requests: collection, patienceMs }: Queue,
  requests: readonly NewRequest[],
  signal: AbortSignal,
): Promise<void> {
  let inserted = 0;
  const onInserted = (count: number): void => void (inserted = count);
  try {
    await insertRequests(collection, requests, { signal, patienceMs, onInserted });
  } catch (error) {
    if (inserted > 0) {
      terminal.note(`${inserted} of ${counted(requests.length, 'request')} were inserted, which go on`);
    }
    throw error;
  }
  terminal.note(`Inserted ${nameOf(requests)}`);
}

const nameOf = (requests: readonly NewRequest[]): string =>
  requests.length === 1
    ? `request ${String(requests[0]?._id)} (${requests[0]?.command ?? ''})`
    : `${counted(requests.length, 'request')} (${requests[0]?.command ?? ''})`;

interface Following {
  readonly requests: readonly NewRequest[];
  readonly entries: number | undefined;
  readonly signal: AbortSignal;
}

/** Follows with progress; where this process does the work itself, until both have ended. */
async function followHere(
  terminal: Terminal,
  queue: Queue,
  { requests, entries, signal }: Following,
): Promise<readonly RequestView[]> {
  const ids = requests.map(({ _id }) => _id);
  const display = createProgressDisplay(terminal);
  const notice = waitingNotice({ terminal, ...queue });
  const onLook = async (seen: readonly RequestView[]): Promise<void> => {
    await notice(seen);
    display.show(progressText(seen, entries));
  };
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const working = queue.work(ids, either).catch((error: unknown) => failed.abort(error));
  try {
    return await followToEnd(queue.requests, ids, { signal: either, onLook, patienceMs: queue.patienceMs });
  } catch (error) {
    display.end();
    failed.abort(error);
    await working;
    if (!isFault(error) || error.code !== 'not_found')
      terminal.note(howItGoesOn(requests, queue.isInProcess));
    throw error;
  } finally {
    display.end();
    await working;
  }
}

/** What to type to look at requests that nobody follows any more. */
function howItGoesOn(requests: readonly NewRequest[], isInProcess: boolean): string {
  const [first] = requests;
  const last = requests.at(-1);
  const only = requests.length === 1;
  const ids = only
    ? `{ _id: ${idText(first)} }`
    : `{ requestedBy: 'cli', _id: { $gte: ${idText(first)}, $lte: ${idText(last)} } }`;
  const [find, update] = only ? ['findOne', 'updateOne'] : ['find', 'updateMany'];
  const it = only ? 'it' : 'them';
  const state = isInProcess
    ? `What has not ended waits for a daemon now.`
    : `Nobody follows ${it} any more, but ${only ? 'it goes' : 'they go'} on.`;
  return [
    `${state} In mongosh:`,
    `  look at ${it}  db.sync_requests.${find}(${ids})`,
    `  cancel ${it}   db.sync_requests.${update}(${ids}, { $set: { cancel: true } })`,
  ].join('\n');
}

const idText = (request: NewRequest | undefined): string => `ObjectId('${String(request?._id)}')`;

function printIds(
  terminal: Terminal,
  requests: readonly NewRequest[],
  { json }: RequestCommandOptions,
): ExitCode {
  for (const { _id } of requests) terminal.result(json ? JSON.stringify({ _id }) : String(_id));
  return exitCodes.succeeded;
}

async function print(
  terminal: Terminal,
  { requests }: Queue,
  ended: readonly RequestView[],
  { json }: RequestCommandOptions,
): Promise<ExitCode> {
  if (json) {
    for (const view of ended) {
      // Read again whole, one at a time: following leaves out ids and batches. Where it has been removed meanwhile, what was seen.
      const whole: SyncRequestDocument | null = await requests.findOne({ _id: view._id });
      terminal.result(requestJson(whole ?? view));
    }
  } else {
    terminal.result(summaryText(ended));
  }
  return overallStatus(ended) === 'succeeded' ? exitCodes.succeeded : exitCodes.failed;
}
