// Requests as they change: running, waiting, recently ended, and changed since the last read. Where there is
// a change stream, it tells which requests to read. Each read also covers the newest requests and all that
// were open at the last read.
import type { mongo } from 'mongoose';
import { endWaits, pause } from '../../base/waiting.js';
import { ChangeStreamFollower } from '../../mongo/change-stream.js';
import { type Filter, isPending } from '../../requests/expressions.js';
import { isEndStatus } from '../../requests/request.js';
import { idOf, type RequestView, rowProjection, soundView } from '../../requests/view.js';
import type { Session } from '../session.js';
import { newestFirst, withoutCron } from './list.js';

export interface Board {
  readonly running: readonly RequestView[];
  /** The first requests to be claimed, and the total count. */
  readonly waiting: readonly RequestView[];
  readonly waitingCount: number;
  /** Newest first. */
  readonly ended: readonly RequestView[];
  /** New or changed since the last read; at the first read, all running and waiting requests. */
  readonly changed: readonly RequestView[];
}

const shortestPauseMs = 200;
const pauseMs = 1_000;
const mostRunning = 50;
const mostWaiting = 5;
const mostEnded = 10;
const newest = 50;
/** Maximum number of requests that one read takes from the change stream. */
const mostRead = 500;
/** Number of ended requests to remember, so that they are not reported twice. */
const mostRemembered = 5_000;

/**
 * Reads until the session is interrupted. `all` includes scheduled requests that succeeded.
 * @throws Fault if MongoDB stays unavailable or refuses; the signal's reason
 */
export const watchBoard = (session: Session, all: boolean, onLook: (board: Board) => void): Promise<never> =>
  new Watch(session, all).run(onLook);

class Watch {
  /** Open requests and the latest ended ones, in the order of their first appearance. */
  readonly #seen = new Map<string, RequestView>();
  /** Ids that the change stream has reported. */
  readonly #told = new Map<string, unknown>();

  constructor(
    private readonly session: Session,
    private readonly all: boolean,
  ) {}

  async run(onLook: (board: Board) => void): Promise<never> {
    const { requests, signal } = this.session;
    let news = new AbortController();
    const changes = new ChangeStreamFollower<{ readonly documentKey?: { readonly _id: unknown } }>({
      collection: () => requests,
      pipeline: [{ $project: { 'documentKey._id': 1 } }],
      onEvent: ({ documentKey }) => {
        if (!documentKey) return;
        this.#told.set(String(documentKey._id), documentKey._id);
        endWaits(news);
      },
    });
    try {
      for (let isFirst = true; ; isFirst = false) {
        news = new AbortController();
        const board = await this.#look();
        const open = board.changed.filter(({ status }) => !isEndStatus(status));
        onLook(isFirst ? { ...board, changed: open } : board);
        await pause(shortestPauseMs, signal);
        if (this.#told.size === 0) await pause(pauseMs, signal, news.signal);
        signal.throwIfAborted();
      }
    } finally {
      changes.close();
    }
  }

  async #look(): Promise<Board> {
    const [running, waiting, waitingCount] = await Promise.all([
      this.#find({ status: 'running' }, mostRunning, { _id: -1 }),
      this.#find(isPending, mostWaiting, { _id: 1 }),
      this.#step(() => this.session.requests.countDocuments(isPending)),
    ]);
    const others = await this.#others([...running, ...waiting]);
    const changed = [...others, ...running, ...waiting].filter((request) => this.#remember(request));
    return { running, waiting, waitingCount, ended: this.#ended(), changed };
  }

  /**
   * The newest requests, those that the stream has reported, and those that were open at the last read, in
   * the order of their insertion.
   */
  async #others(known: readonly RequestView[]): Promise<readonly RequestView[]> {
    const newestOnes = newestFirst({ all: this.all }, newest);
    const found = await this.#step(() =>
      this.session.requests.aggregate<{ readonly _id: unknown }>(newestOnes).toArray(),
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
    // A request that is no longer there was removed.
    const there = new Set([...have, ...more.map(idOf)]);
    for (const request of open) if (!there.has(idOf(request))) this.#seen.delete(idOf(request));
    return [...more, ...views];
  }

  async #find(filter: Filter, limit: number, sort: mongo.Sort = { _id: 1 }): Promise<readonly RequestView[]> {
    const wanted = this.all ? filter : { $and: [filter, withoutCron] };
    const options = { projection: rowProjection, limit, sort };
    return (await this.#step(() => this.session.requests.find(wanted, options).toArray())).map(soundView);
  }

  #step<T>(step: () => Promise<T>): Promise<T> {
    return this.session.persist('watching requests', step);
  }

  /** True when it is new or has changed. */
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

/** The fields whose change is worth telling. */
const stateOf = (request: RequestView): string => {
  const { status, attempts, cancel, runAt, waitsFor, progress, finishedAt } = request;
  return JSON.stringify([status ?? 'pending', attempts, cancel, runAt, waitsFor, progress?.done, finishedAt]);
};
