// What the commands that make requests do: insert them, follow them to their ends, tell how they ended.
import { isFault } from '../base/errors.js';
import { serviceName } from '../base/version.js';
import { duplicateFields, persistently } from '../mongo/faults.js';
import { insertionFault } from '../requests/client/client.js';
import { newRequest, type NewRequest, splitBatch } from '../requests/parse.js';
import type { CommandInput, RequestCollection } from '../requests/request.js';
import type { BatchEntry } from './batch-input.js';
import { type ExitCode, exitCodes, interruptibly, UsageFault, withinSeconds } from './faults.js';
import { followHere } from './follow.js';
import { printEnded } from './screen/summary.js';
import { counted } from './screen/table.js';
import type { Terminal } from './screen/terminal.js';
import { openQueue, type Queue } from './session.js';

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

// Inserts requests, each exactly once: their ids are made here, so an insertion whose answer was lost is found again.
export interface InsertOptions {
  readonly signal: AbortSignal;
  /** How long MongoDB may stay away before it is given up, in milliseconds. */
  readonly patienceMs: number;
  /** Gets the number of requests that have been inserted so far. */
  readonly onInserted: (inserted: number) => void;
}

/** @throws Fault `invalid_request` where MongoDB's own rules refuse one, `mongodb_unavailable`, `mongodb_rejected`; the signal's reason on abort. Those before stay inserted. */
async function insertRequests(
  collection: RequestCollection,
  requests: readonly NewRequest[],
  { signal, patienceMs, onInserted }: InsertOptions,
): Promise<void> {
  for (const [index, request] of requests.entries()) {
    const insert = async (): Promise<void> => {
      await collection.insertOne(request).catch((error: unknown) => {
        // An earlier try whose answer was lost.
        if (!duplicateFields(error).includes('_id')) throw insertionFault(error) ?? error;
      });
    };
    await persistently('inserting the request', insert, { withinMs: patienceMs, signal });
    onInserted(index + 1);
  }
}

// What a command wants done, and how it wants to be told.
export interface Job {
  readonly inputs: readonly CommandInput[];
  /** How many ids or customers in all; undefined for a scan. */
  readonly entries: number | undefined;
}

export interface RequestCommandOptions {
  readonly json?: true;
  readonly inProcess?: true;
  readonly dryRun?: true;
  /** False with `--no-wait`. */
  readonly wait: boolean;
  readonly timeout?: number;
}

// Makes requests of the customers of a batch, as many as they need.
export interface BatchSource {
  /** Of the file, for messages. */
  readonly name: string;
  /** When the customers were read from Stripe; undefined for now. */
  readonly observedAt: Date | undefined;
}

/** @throws UsageFault where a single customer is too large for a request */
export function batchJob(entries: readonly BatchEntry[], source: BatchSource): Job {
  const batches = splitBatch(entries, ({ customer }) => customer);
  return { inputs: batches.map((batch) => inputFor(batch, source)), entries: entries.length };
}

function inputFor(batch: readonly BatchEntry[], { name, observedAt }: BatchSource): CommandInput {
  const customers = batch.map(({ customer }) => customer);
  const input: CommandInput = { command: 'syncBatch', batch: customers, ...(observedAt && { observedAt }) };
  const [first] = batch;
  if (first && batch.length === 1) refuseTooLarge(input, `${name}: ${first.place}`);
  return input;
}

/** One that is too large for a request stands alone in its batch. */
function refuseTooLarge(input: CommandInput, place: string): void {
  try {
    newRequest(input);
  } catch (error) {
    throw isFault(error) ? new UsageFault([`${place}: ${error.message}`]) : error;
  }
}
