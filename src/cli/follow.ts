// Follows requests to their ends by their documents: a change stream says when to look, where MongoDB has one, and polling finds
// what it does not tell. Reads alone; stopping to follow changes nothing.
import { Fault, isFault } from '../base/errors.js';
import { orAborted, pause } from '../base/waiting.js';
import { persistently } from '../mongo/faults.js';
import { isEndStatus, type RequestId, type RequestCollection } from '../requests/request.js';
import { type RequestView, soundView } from '../requests/view.js';
import { createProgressDisplay, progressText } from './screen/progress.js';
import type { Terminal } from './screen/terminal.js';
import type { Queue } from './session.js';

export interface FollowOptions {
  /** Ends following with its reason. */
  readonly signal: AbortSignal;
  /** Gets the requests that are known by now in the order of the ids, after every look at them. */
  readonly onLook: (requests: readonly RequestView[]) => Promise<void>;
  /** How long MongoDB may stay away before following is given up, in milliseconds. */
  readonly patienceMs: number;
}

/** The first look again comes after the shortest time, each next one after twice as long. */
const shortestPauseMs = 50;
const pauseMs = 500;
/** Between two looks while a change stream tells of changes. */
const pauseMsWithStream = 2_000;

const unseen = { batch: 0, ids: 0 } as const;

/**
 * Waits until all have ended, and returns them in the order of the ids. While another scan runs for one, that one is what is looked at:
 * its progress is both's.
 * @throws Fault `not_found` when one is no longer there, `mongodb_unavailable`, `mongodb_rejected`; the signal's reason on abort
 */
export async function followToEnd(
  requests: RequestCollection,
  ids: readonly RequestId[],
  { signal, onLook, patienceMs }: FollowOptions,
): Promise<readonly RequestView[]> {
  const slots: Slot[] = ids.map((id) => ({ id, request: undefined, other: undefined }));
  const changes = watchChanges(requests, ids);
  try {
    let longestMs = shortestPauseMs;
    for (;;) {
      await look(requests, slots, { signal, patienceMs });
      await onLook(slots.flatMap(({ other, request }) => other ?? request ?? []));
      if (slots.every(hasEnded)) return slots.flatMap(({ request }) => request ?? []);
      await changes.next(longestMs, signal);
      // Of another request than the one that was asked for the change stream knows nothing.
      const isTold = changes.isOpen() && slots.every(({ other }) => other === undefined);
      longestMs = Math.min(longestMs * 2, isTold ? pauseMsWithStream : pauseMs);
    }
  } finally {
    await changes.close();
  }
}

interface Slot {
  readonly id: RequestId;
  request: RequestView | undefined;
  /** The scan that runs for it, while it does. */
  other: RequestView | undefined;
}

const hasEnded = ({ request }: Slot): boolean => isEndStatus(request?.status);

async function look(
  requests: RequestCollection,
  slots: readonly Slot[],
  { signal, patienceMs }: Pick<FollowOptions, 'signal' | 'patienceMs'>,
): Promise<void> {
  const open = slots.filter((slot) => !hasEnded(slot));
  const readAll = async (ids: readonly RequestId[]): Promise<ReadonlyMap<string, RequestView>> => {
    const read = () => requests.find({ _id: { $in: ids } }, { projection: unseen }).toArray();
    const doing = 'reading the request';
    // A read from a server that hangs must not hold up an interruption.
    const found = await orAborted(persistently(doing, read, { withinMs: patienceMs, signal }), signal);
    return new Map(found.map((request) => [String(request._id), request]));
  };
  const byId = await readAll(open.map(({ id }) => id));
  const awaited = [...byId.values()].flatMap(({ waitsFor }) => waitsFor ?? []);
  const others = awaited.length > 0 ? await readAll(awaited) : undefined;
  for (const slot of open) {
    const request = byId.get(String(slot.id));
    if (!request) throw removed(slot.id);
    slot.request = request;
    slot.other = others?.get(String(request.waitsFor));
  }
}

const removed = (id: RequestId): Fault =>
  new Fault('not_found', `Request ${String(id)} was removed before its end was seen`, { kind: 'terminal' });

interface Changes {
  /** Resolves at the next change, but not at once, for changes come in crowds; after `longestMs` at the latest. */
  next(longestMs: number, signal: AbortSignal): Promise<void>;
  /** Whether changes are told. */
  isOpen(): boolean;
  close(): Promise<void>;
}

/** Without change streams (a standalone server, a user without the right) it is the clock alone that says when to look. */
function watchChanges(requests: RequestCollection, ids: readonly RequestId[]): Changes {
  const pipeline = [{ $match: { 'documentKey._id': { $in: ids } } }, { $project: { _id: 1 } }];
  const stream = requests.watch(pipeline, { maxAwaitTimeMS: 1_000 });
  let isOpen = false;
  let news = new AbortController();
  // The first answer of the server, empty or not.
  stream.once('resumeTokenChanged', () => (isOpen = true));
  stream.on('change', () => news.abort());
  // The driver resumes what can be resumed: an error is the end.
  const end = (): void => void (isOpen = false);
  stream.on('error', end);
  stream.on('close', end);

  return {
    isOpen: () => isOpen,
    next: async (longestMs, signal) => {
      await pause(shortestPauseMs, signal);
      await pause(longestMs - shortestPauseMs, signal, news.signal);
      signal.throwIfAborted();
      news = new AbortController();
    },
    close: async () => {
      await stream.close().catch(() => undefined);
    },
  };
}

// Follows requests to their ends with progress on stderr; where this process does the work itself, until both have ended.
export interface Following {
  readonly ids: readonly RequestId[];
  /** How many ids or customers the requests have in all; undefined where that is not known. */
  readonly entries: number | undefined;
  readonly signal: AbortSignal;
  /** Whether `--in-process` would do the work here. */
  readonly canRunHere: boolean;
  /** What to tell when it is given up while the requests go on. */
  readonly whenLeft?: string;
}

/** @throws as `followToEnd`, and what the work of this process ends with */
export async function followHere(
  terminal: Terminal,
  queue: Queue,
  { ids, entries, signal, canRunHere, whenLeft }: Following,
): Promise<readonly RequestView[]> {
  const display = createProgressDisplay(terminal);
  const notice = waitingNotice({ terminal, ...queue, canRunHere });
  const onLook = async (seen: readonly RequestView[]): Promise<void> => {
    await notice(seen);
    display.show(progressText(seen.map(soundView), entries));
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
    const isGone = isFault(error) && error.code === 'not_found';
    if (whenLeft !== undefined && !isGone) terminal.note(whenLeft);
    throw error;
  } finally {
    display.end();
    await working;
  }
}

// Tells a person once why a request is not taken: nobody is there to take it, or others come first.
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
function waitingNotice(options: WaitingNoticeOptions): (seen: readonly RequestView[]) => Promise<void> {
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
