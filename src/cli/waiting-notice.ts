// Tells a person once why a request is not taken: nobody is there to take it, or others come first.
import type { RequestCollection, RequestView } from './follow.js';
import type { Terminal } from './terminal.js';

/** How long nobody may take a request before the person is told. */
const patienceMs = 3_000;

export interface WaitingNoticeOptions {
  readonly terminal: Terminal;
  readonly requests: RequestCollection;
  readonly database: string;
  /** Whether this process itself works on them. */
  readonly isInProcess: boolean;
  /** Whether `--in-process` would do the work here. */
  readonly canRunHere: boolean;
}

/** To be called with every look at the requests. */
export function waitingNotice(
  options: WaitingNoticeOptions,
): (seen: readonly RequestView[]) => Promise<void> {
  const { terminal, requests, database, isInProcess, canRunHere } = options;
  const startedMs = performance.now();
  let isDone = false;
  return async (seen) => {
    if (isDone || performance.now() - startedMs < patienceMs) return;
    isDone = true;
    if (!seen.every(isUntouched)) return;
    const other = await otherThatRuns(requests);
    if (other) {
      terminal.note(`Waiting for its turn: request ${String(other._id)} (${other.command}) is running`);
    } else if (!isInProcess) {
      terminal.note(
        `No daemon has taken it yet: is one running on the database "${database}"? Waiting.\n` +
          `  ${canRunHere ? '--in-process does the work here; ' : ''}Ctrl-C ends the waiting, not the request.`,
      );
    }
  };
}

const isUntouched = ({ status = 'pending', attempts = 0 }: RequestView): boolean =>
  status === 'pending' && attempts === 0;

/** One whose lease holds, by MongoDB's clock: somebody works on this database. */
async function otherThatRuns(requests: RequestCollection): Promise<RequestView | undefined> {
  const holds = { status: 'running', $expr: { $gt: ['$lease.expiresAt', '$$NOW'] } } as const;
  return (await requests.findOne(holds, { projection: { command: 1 } })) ?? undefined;
}
