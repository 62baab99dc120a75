// The commands that request work. They insert requests, follow them until they end, and print the results.
import { isFault } from '../base/errors.js';
import { serviceName } from '../base/version.js';
import { duplicateFields } from '../mongo/faults.js';
import { insertionFault } from '../requests/client/client.js';
import { requireOurRequests } from '../ownership.js';
import { newRequest, type NewRequest, splitBatch } from '../requests/parse.js';
import { type CommandInput, maxEntries } from '../requests/request.js';
import { inputName, parseBatch, readInput } from './batch-input.js';
import { type ExitCode, exitCodes, UsageFault } from './faults.js';
import { follow } from './follow.js';
import { printEnded } from './screen/summary.js';
import { counted } from './screen/table.js';
import type { Terminal } from './screen/terminal.js';
import { type Session, withSession } from './session.js';
import { checkedIds, checkedRequestId } from './typed-ids.js';

export interface AskOptions {
  readonly json?: true;
  readonly inProcess?: true;
  readonly dryRun?: true;
  /** False with `--no-wait`. */
  readonly wait: boolean;
  /** Seconds. */
  readonly timeout?: number;
}

export const syncAll = (terminal: Terminal, options: AskOptions): Promise<ExitCode> =>
  ask(terminal, options, [requestOf({ command: 'syncAll' }, options)]);

/** As many requests as the ids need. */
export async function syncByIds(
  terminal: Terminal,
  typed: readonly string[],
  options: AskOptions,
): Promise<ExitCode> {
  const ids = checkedIds(typed);
  const starts = Array.from({ length: Math.ceil(ids.length / maxEntries) }, (_, index) => index * maxEntries);
  const requests = starts.map((start) =>
    requestOf({ command: 'syncByIds', ids: ids.slice(start, start + maxEntries) }, options),
  );
  return ask(terminal, options, requests, ids.length);
}

/** As many requests as the customers need. */
export async function syncBatch(
  terminal: Terminal,
  file: string,
  options: AskOptions & { readonly observedAt?: Date },
): Promise<ExitCode> {
  const { observedAt } = options;
  const name = inputName(file);
  const entries = parseBatch(await readInput(file, terminal.stdin), name);
  const requests = splitBatch(entries, ({ customer }) => customer).map((part) => {
    const batch = part.map(({ customer }) => customer);
    try {
      return requestOf({ command: 'syncBatch', batch, ...(observedAt && { observedAt }) }, options);
    } catch (error) {
      // A customer that is too large for a request is alone in its part.
      throw isFault(error) ? new UsageFault([`${name}: ${part[0]?.place}: ${error.message}`]) : error;
    }
  });
  return ask(terminal, options, requests, entries.length);
}

export async function softDelete(terminal: Terminal, id: string, options: AskOptions): Promise<ExitCode> {
  checkedIds([id]);
  return ask(terminal, options, [requestOf({ command: 'softDelete', stripeId: id }, options)], 1);
}

export async function approveRemovals(
  terminal: Terminal,
  scan: string,
  options: AskOptions,
): Promise<ExitCode> {
  const request = checkedRequestId(scan);
  return ask(terminal, options, [requestOf({ command: 'approveRemovals', request }, options)]);
}

const requestOf = (input: CommandInput, { dryRun }: AskOptions): NewRequest =>
  newRequest({ ...input, requestedBy: 'cli', ...(dryRun && { dryRun }) });

/** `entries`: ids or customers in all; undefined for a scan. @throws as `withSession` and `follow` */
const ask = (
  terminal: Terminal,
  { inProcess, wait, json, timeout }: AskOptions,
  requests: readonly NewRequest[],
  entries?: number,
): Promise<ExitCode> =>
  withSession(
    terminal,
    async (session) => {
      await requireOurRequests(session.database);
      await insert(session, requests);
      const ids = requests.map(({ _id }) => _id);
      if (!wait) {
        for (const _id of ids) terminal.result(json ? JSON.stringify({ _id }) : String(_id));
        return exitCodes.succeeded;
      }
      const whenLeft = howItGoesOn(requests, inProcess);
      const ended = await follow(session, { ids, entries, timeout, whenLeft, canRunHere: true });
      return printEnded(session, ended, json);
    },
    { inProcess },
  );

/**
 * Inserts each request exactly once. The ids are made here, so a retry recognizes an insertion whose response
 * was lost.
 * @throws Fault `invalid_request` where MongoDB's own rules refuse a request, `mongodb_unavailable`,
 *   `mongodb_rejected`; the signal's reason on abort. Earlier requests stay inserted.
 */
async function insert(
  { terminal, requests, persist }: Session,
  wanted: readonly NewRequest[],
): Promise<void> {
  const total = counted(wanted.length, 'request');
  for (const [index, request] of wanted.entries()) {
    const insertOne = async (): Promise<void> => {
      await requests.insertOne(request).catch((error: unknown) => {
        // An earlier try inserted it, but its response was lost.
        if (!duplicateFields(error).includes('_id')) throw insertionFault(error) ?? error;
      });
    };
    try {
      await persist('inserting the request', insertOne);
    } catch (error) {
      if (index > 0) terminal.note(`${index} of ${total} were inserted and continue`);
      throw error;
    }
  }
  const [first] = wanted;
  const name = wanted.length === 1 ? `request ${String(first?._id)}` : total;
  terminal.note(`Inserted ${name} (${first?.command ?? ''})`);
}

/** More ids would bury the rest of the text. */
const mostNamed = 3;

/** The command to type to see requests that are no longer followed. */
function howItGoesOn(requests: readonly NewRequest[], isInProcess = false): string {
  const [first] = requests;
  const isOne = requests.length === 1;
  const ids = requests.length > mostNamed ? 'ID…' : requests.map(({ _id }) => String(_id)).join(' ');
  const state = isInProcess
    ? 'Unfinished work is left for a daemon'
    : 'No longer followed; the work continues';
  const look = isOne ? `watch ${ids}` : `list --command ${first?.command ?? ''} --requested-by cli`;
  return [`${state}:`, `  ${serviceName} requests ${look}`, `  ${serviceName} requests cancel ${ids}`].join(
    '\n',
  );
}
