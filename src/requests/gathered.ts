// Follows a change stream in a way that is cheap when much happens: the server is not asked for each event by itself.
import { pause } from '../pause.js';

/** As much of a change stream as is needed here, of any version of the driver. */
export interface FollowedStream {
  readonly closed: boolean;
  readonly resumeToken: unknown;
  on(event: string, listener: (argument: never) => void): unknown;
  once(event: string, listener: (argument: never) => void): unknown;
  /** Null where nothing has happened within `maxAwaitTimeMS`. */
  tryNext(): Promise<unknown>;
  close(): Promise<void>;
}

export interface Following<Event> {
  readonly signal: AbortSignal;
  /** Where much happens, how long the server may gather before it is asked again, in milliseconds: what is done together costs a fraction. */
  readonly gatherMs: number;
  /** The server has answered for the first time: what happened before is in no stream. */
  readonly onOpened: () => void;
  /** As the stream's pipeline projects it, with its `_id`. */
  readonly onEvent: (event: Event) => void;
}

/** What comes so soon after the last is one of many. */
const busyMs = 50;

/** Tells of each event until the signal aborts; closes the stream. @throws the stream's error; where it was closed by us the driver's word for that */
export async function followGathered<Event>(
  stream: FollowedStream,
  { signal, gatherMs, onOpened, onEvent }: Following<Event>,
): Promise<void> {
  const close = (): Promise<void> => stream.close().catch(() => undefined);
  let isOpen = false;
  // Before its first answer the driver does not know the server's cursor, and would leave it open: then it is closed after that answer.
  const onAbort = (): void => void (isOpen && close());
  // Without a listener an error event would end the process; the loop below gets the same error.
  stream.on('error', () => undefined);
  stream.once('resumeTokenChanged', () => {
    isOpen = true;
    onOpened();
  });
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    for (let cameMs = -Infinity; !signal.aborted && !stream.closed;) {
      const event = await stream.tryNext();
      if (event === null) continue;
      onEvent(event as Event); // as its pipeline projects it
      if (isFollowed(stream, event as { readonly _id: unknown })) continue;
      const isBusy = performance.now() - cameMs < busyMs;
      if (isBusy) await pause(gatherMs, signal);
      cameMs = performance.now();
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    await close();
  }
}

/**
 * More of the same answer is here. After the last event of an answer a stream resumes from where the server has looked, no more from the event
 * (https://github.com/mongodb/specifications/blob/master/source/change-streams/change-streams.md#updating-the-cached-resume-token).
 */
const isFollowed = ({ resumeToken }: FollowedStream, { _id }: { readonly _id: unknown }): boolean =>
  resumeToken === _id;
