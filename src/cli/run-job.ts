// What the commands that make requests do: insert them, follow them to their ends, tell how they ended.
import { serviceName } from '../version.js';
import { newRequest, type NewRequest } from '../requests/commands.js';
import type { CommandInput } from '../requests/document.js';
import { exitCodes, type ExitCode } from './exit-code.js';
import { followHere } from './follow-here.js';
import { insertRequests } from './insert.js';
import type { Job, RequestCommandOptions } from './job.js';
import { interruptibly, withinSeconds } from './interruption.js';
import { openQueue, type Queue } from './open-queue.js';
import { printEnded } from './print-ended.js';
import type { Terminal } from './terminal.js';
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
        followHere(terminal, queue, {
          ids: requests.map(({ _id }) => _id),
          entries: job.entries,
          signal: limited,
          canRunHere: true,
          whenLeft: howItGoesOn(requests, queue.isInProcess),
        }),
      );
      return await printEnded(terminal, queue, ended, options);
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

/** What to type to look at requests that nobody follows any more. */
function howItGoesOn(requests: readonly NewRequest[], isInProcess: boolean): string {
  const only = requests.length === 1;
  const ids = requests.length > mostNamed ? ['ID…'] : requests.map(({ _id }) => String(_id));
  const command = requests[0]?.command ?? '';
  const look = only ? `watch ${ids.join('')}` : `list --command ${command} --requested-by cli`;
  const state = isInProcess
    ? `What has not ended waits for a daemon now:`
    : `Nobody follows ${only ? 'it' : 'them'} any more, but ${only ? 'it goes' : 'they go'} on:`;
  return [
    state,
    `  ${serviceName} requests ${look}`,
    `  ${serviceName} requests cancel ${ids.join(' ')}`,
  ].join('\n');
}

/** More ids would hide the rest. */
const mostNamed = 3;

function printIds(
  terminal: Terminal,
  requests: readonly NewRequest[],
  { json }: RequestCommandOptions,
): ExitCode {
  for (const { _id } of requests) terminal.result(json ? JSON.stringify({ _id }) : String(_id));
  return exitCodes.succeeded;
}
