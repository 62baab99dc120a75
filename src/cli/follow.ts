// Follows requests until they end by reading their documents. A change stream says when to read, and polling
// finds what the stream misses. It only reads: to stop following changes nothing.
import { Fault, isFault } from '../base/errors.js';
import { endWaits, orAborted, pause } from '../base/waiting.js';
import { ChangeStreamFollower } from '../mongo/change-stream.js';
import { persistently } from '../mongo/faults.js';
import { isEndStatus, type RequestId, type RequestCollection } from '../requests/request.js';
import { type RequestView, soundView } from '../requests/view.js';
import { OutOfTime } from './faults.js';
import { createProgressDisplay } from './screen/progress.js';
import { progressText } from './screen/request-text.js';
import type { Session } from './session.js';

export interface FollowOptions {
  /** Ends following with its reason. */
  readonly signal: AbortSignal;
  /** Called after every read, with the requests read so far, in the order of the ids. */
  readonly onLook: (requests: readonly RequestView[]) => Promise<void>;
  /** How long MongoDB may be unavailable before following gives up, in milliseconds. */
  readonly patienceMs: number;
}

/** The pause after the first look; each later one is twice as long, up to the limits below. */
const shortestPauseMs = 50;
const pauseMs = 500;
/** While a change stream tells of changes. */
const pauseMsWithStream = 2_000;

const unseen = { batch: 0, ids: 0 } as const;

/**
 * Waits until all requests have ended and returns them in the order of the ids. If another scan runs on
 * behalf of a request, `onLook` gets that scan, because its progress is the progress of both.
 * @throws Fault `not_found` when a request no longer exists, `mongodb_unavailable`, `mongodb_rejected`; the
 *   signal's reason on abort
 */
export async function followToEnd(
  requests: RequestCollection,
  ids: readonly RequestId[],
  { signal, onLook, patienceMs }: FollowOptions,
): Promise<readonly RequestView[]> {
  const read = async (wanted: readonly RequestId[]): Promise<ReadonlyMap<string, RequestView>> => {
    const find = () => requests.find({ _id: { $in: wanted } }, { projection: unseen }).toArray();
    const found = persistently('reading the request', find, { withinMs: patienceMs, signal });
    // A read from a server that hangs must not delay an interruption.
    return new Map((await orAborted(found, signal)).map((request) => [String(request._id), request]));
  };
  const known = new Map<string, RequestView>();
  const isOpen = (id: RequestId): boolean => !isEndStatus(known.get(String(id))?.status);
  let news = new AbortController();
  const look = (): void => endWaits(news);
  // Without change streams (a standalone server, a user without the right), reads happen on a timer only.
  const changes = new ChangeStreamFollower({
    collection: () => requests,
    pipeline: [{ $match: { 'documentKey._id': { $in: ids } } }, { $project: { _id: 1 } }],
    onOpened: look,
    onEvent: look,
  });
  try {
    for (let longestMs = shortestPauseMs; ;) {
      const open = ids.filter(isOpen);
      const byId = await read(open);
      for (const id of open) known.set(String(id), byId.get(String(id)) ?? gone(id));
      // The scans that run on behalf of others.
      const awaited = [...byId.values()].flatMap(({ waitsFor }) => waitsFor ?? []);
      const others = awaited.length > 0 ? await read(awaited) : new Map<string, RequestView>();
      const all = ids.flatMap((id) => known.get(String(id)) ?? []);
      await onLook(all.map((request) => others.get(String(request.waitsFor)) ?? request));
      if (!ids.some(isOpen)) return all;
      // Delayed after a change, because changes come in bursts.
      await pause(shortestPauseMs, signal);
      await pause(longestMs - shortestPauseMs, signal, news.signal);
      signal.throwIfAborted();
      news = new AbortController();
      // The change stream does not report those other scans.
      const isTold = changes.isOpen && others.size === 0;
      longestMs = Math.min(longestMs * 2, isTold ? pauseMsWithStream : pauseMs);
    }
  } finally {
    changes.close();
  }
}

function gone(id: RequestId): never {
  throw new Fault('not_found', `Request ${String(id)} was removed before its end was seen`);
}

export interface Following {
  readonly ids: readonly RequestId[];
  /** Ids or customers of all requests together; undefined where that is not known. */
  readonly entries?: number | undefined;
  /** Seconds after which following is given up. */
  readonly timeout?: number | undefined;
  /** The text to print when following gives up while the requests continue. */
  readonly whenLeft?: string;
  /** Whether `--in-process` would run the requests here. */
  readonly canRunHere?: true;
}

/**
 * Follows requests with progress on stderr. With `--in-process` this process also runs them.
 * @throws as `followToEnd`; `OutOfTime`; what running them throws
 */
export async function follow(session: Session, following: Following): Promise<readonly RequestView[]> {
  const { terminal, requests, patienceMs, work } = session;
  const { ids, entries, timeout, whenLeft } = following;
  const display = createProgressDisplay(terminal);
  const notice = waitingNotice(session, following);
  const onLook = async (seen: readonly RequestView[]): Promise<void> => {
    await notice(seen);
    display.show(progressText(seen.map(soundView), entries));
  };
  const over = new AbortController();
  const signal = AbortSignal.any([session.signal, over.signal]);
  const timer = timeout && setTimeout(() => over.abort(new OutOfTime(timeout)), timeout * 1_000);
  const working = work?.(ids, signal).catch((error: unknown) => over.abort(error));
  try {
    return await followToEnd(requests, ids, { signal, onLook, patienceMs });
  } catch (error) {
    display.end();
    over.abort(error);
    await working;
    const isGone = isFault(error) && error.code === 'not_found';
    if (whenLeft !== undefined && !isGone) terminal.note(whenLeft);
    throw error;
  } finally {
    clearTimeout(timer);
    display.end();
    await working;
  }
}

/** How long a request may stay unclaimed before the user is told. */
const unclaimedMs = 3_000;

/** Tells the user once why a request is not claimed. Must be called after every read of the requests. */
function waitingNotice(
  { terminal, requests, work }: Session,
  { canRunHere }: Following,
): (seen: readonly RequestView[]) => Promise<void> {
  const startedMs = performance.now();
  let isDone = false;
  return async (seen) => {
    if (isDone || performance.now() - startedMs < unclaimedMs) return;
    isDone = true;
    if (!seen.every(isUntouched)) return;
    const other = await otherThatRuns(requests);
    if (other) {
      terminal.note(`Waiting for its turn: request ${String(other._id)} (${other.command}) is running`);
    } else if (!work) {
      terminal.note(
        `No daemon has claimed it yet. Is one running on the database "${requests.dbName}"?\n` +
          `  ${canRunHere ? '--in-process runs it here; ' : ''}Ctrl-C stops waiting; the request continues.`,
      );
    }
  };
}

const isUntouched = ({ status = 'pending', attempts = 0 }: RequestView): boolean =>
  status === 'pending' && attempts === 0;

/** A request with a live lease, by MongoDB's clock: some daemon works on this database. */
async function otherThatRuns(requests: RequestCollection): Promise<RequestView | undefined> {
  const holds = { status: 'running', $expr: { $gt: ['$lease.expiresAt', '$$NOW'] } } as const;
  return (await requests.findOne(holds, { projection: { command: 1 } })) ?? undefined;
}
