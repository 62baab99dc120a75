// What happens to requests as one looks on: what runs, what waits, what ended last, and what has changed since the last look. A change
// stream tells which to look at, where there is one; looking at the newest and at all that was open finds the rest.
import type { mongo } from 'mongoose';
import { pause } from '../../base/waiting.js';
import { persistently } from '../../mongo/faults.js';
import { type Filter, isPending } from '../../requests/expressions.js';
import { isEndStatus, type RequestCollection } from '../../requests/request.js';
import { idOf, type RequestView, rowProjection, soundView } from '../../requests/view.js';
import { newestFirst, withoutCron } from './list.js';

export interface Board {
  readonly running: readonly RequestView[];
  /** The first to be claimed, and how many there are. */
  readonly waiting: readonly RequestView[];
  readonly waitingCount: number;
  /** The last first. */
  readonly ended: readonly RequestView[];
  /** New or not as they were at the last look; at the first one what runs and waits. */
  readonly changed: readonly RequestView[];
}

export interface WatchOptions {
  readonly requests: RequestCollection;
  /** With the successes of cron's requests. */
  readonly all: boolean;
  readonly signal: AbortSignal;
  /** How long MongoDB may stay away before watching is given up, in milliseconds. */
  readonly patienceMs: number;
  readonly onLook: (board: Board) => void;
}

const shortestPauseMs = 200;
const pauseMs = 1_000;
const mostRunning = 50;
const mostWaiting = 5;
const mostEnded = 10;
const newest = 50;
/** Requests that are read at once, where a stream has told of many. */
const mostRead = 500;
/** How many are remembered that have ended, not to be told of again. */
const mostRemembered = 5_000;

/** Looks until the signal is aborted. @throws Fault when MongoDB stays away or refuses; the signal's reason */
export async function watchBoard(options: WatchOptions): Promise<never> {
  const watch = new Watch(options);
  try {
    for (;;) {
      await watch.look();
      await watch.pause();
    }
  } finally {
    await watch.close();
  }
}

class Watch {
  readonly #options: WatchOptions;
  readonly #stream: mongo.ChangeStream;
  /** Of those that have not ended, and of the last that have; in the order in which they were seen. */
  readonly #seen = new Map<string, RequestView>();
  readonly #told = new Map<string, unknown>();
  #news = new AbortController();
  #isFirst = true;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#stream = options.requests.watch([{ $project: { 'documentKey._id': 1 } }], {
      maxAwaitTimeMS: 1_000,
    });
    this.#stream.on('change', (change) => {
      const { documentKey } = change as { readonly documentKey?: { readonly _id: unknown } };
      if (!documentKey) return;
      this.#told.set(String(documentKey._id), documentKey._id);
      this.#news.abort();
    });
    // Without a stream, looking again and again does it alone.
    this.#stream.on('error', () => undefined);
  }

  async look(): Promise<void> {
    this.#news = new AbortController();
    const [running, waiting, waitingCount] = await Promise.all([
      this.#find({ status: 'running' }, mostRunning, { _id: -1 }),
      this.#find(isPending, mostWaiting, { _id: 1 }),
      this.#step(() => this.#options.requests.countDocuments(isPending)),
    ]);
    const others = await this.#others([...running, ...waiting]);
    const changed = [...others, ...running, ...waiting].filter((request) => this.#remember(request));
    const ended = this.#ended();
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    const told = isFirst ? changed.filter(({ status }) => !isEndStatus(status)) : changed;
    this.#options.onLook({ running, waiting, waitingCount, ended, changed: told });
  }

  async pause(): Promise<void> {
    const { signal } = this.#options;
    await pause(shortestPauseMs, signal);
    if (this.#told.size === 0) await pause(pauseMs, signal, this.#news.signal);
    signal.throwIfAborted();
  }

  async close(): Promise<void> {
    await this.#stream.close().catch(() => undefined);
  }

  /** The newest, those that the stream has told of, and those that were open at the last look; in the order of their insertion. */
  async #others(known: readonly RequestView[]): Promise<readonly RequestView[]> {
    const { requests, all } = this.#options;
    const wanted = { statuses: [], command: undefined, requestedBy: undefined, all };
    const found = await this.#step(() =>
      requests.aggregate<{ readonly _id: unknown }>(newestFirst(wanted, newest)).toArray(),
    );
    const views = found.map(soundView).reverse();
    const have = new Set([...known, ...views].map(idOf));
    const open = [...this.#seen.values()].filter(({ status }) => !isEndStatus(status));
    const ids = new Map(open.map((request) => [idOf(request), request._id as unknown]));
    for (const [key, id] of [...this.#told].slice(0, mostRead)) {
      this.#told.delete(key);
      ids.set(key, id);
    }
    const missing = [...ids].flatMap(([key, id]) => (have.has(key) ? [] : [id]));
    const more = missing.length > 0 ? await this.#find({ _id: { $in: missing } }, missing.length) : [];
    // One that is no longer there was removed.
    const there = new Set([...have, ...more.map(idOf)]);
    for (const request of open) if (!there.has(idOf(request))) this.#seen.delete(idOf(request));
    return [...more, ...views];
  }

  async #find(filter: Filter, limit: number, sort: mongo.Sort = { _id: 1 }): Promise<readonly RequestView[]> {
    const { requests, all } = this.#options;
    const wanted = all ? filter : { $and: [filter, withoutCron] };
    const options = { projection: rowProjection, limit, sort };
    return (await this.#step(() => requests.find(wanted, options).toArray())).map(soundView);
  }

  #step<T>(step: () => Promise<T>): Promise<T> {
    const { patienceMs, signal } = this.#options;
    return persistently('watching requests', step, { withinMs: patienceMs, signal });
  }

  /** True when it is not as it was. */
  #remember(request: RequestView): boolean {
    const id = idOf(request);
    const before = this.#seen.get(id);
    if (before && stateOf(before) === stateOf(request)) return false;
    this.#seen.delete(id);
    this.#seen.set(id, request);
    for (const [key, { status }] of this.#seen) {
      if (this.#seen.size <= mostRemembered) break;
      if (isEndStatus(status)) this.#seen.delete(key);
    }
    return true;
  }

  #ended(): readonly RequestView[] {
    const at = ({ finishedAt }: RequestView): number => finishedAt?.getTime() ?? 0;
    return [...this.#seen.values()]
      .filter(({ status }) => isEndStatus(status))
      .sort((a, b) => at(b) - at(a))
      .slice(0, mostEnded);
  }
}

/** What of a request is worth telling when it changes. */
const stateOf = (request: RequestView): string => {
  const { status, attempts, cancel, runAt, waitsFor, progress, finishedAt } = request;
  return JSON.stringify([status ?? 'pending', attempts, cancel, runAt, waitsFor, progress?.done, finishedAt]);
};
