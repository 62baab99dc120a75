// Follows a change stream in a way that is cheap when much happens: the server is not asked for each event by itself.
import { pause } from '../pause.js';

/** As much of a change stream as is needed here, of any version of the driver. */
export interface FollowedStream {
  readonly closed: boolean;
  readonly resumeToken: unknown;
  /** Null where nothing has happened within `maxAwaitTimeMS`. */
  tryNext(): Promise<unknown>;
}

/** What comes so soon after the last is one of many: */
const busyMs = 50;

/**
 * Tells of each event until the signal aborts.
 * @param gatherMs where much happens, how long the server may gather before it is asked again: what is done together costs a fraction
 * @throws the stream's error; where the stream is closed by us the driver's word for that
 */
export async function followGathered<Event>(
  stream: FollowedStream,
  { signal, gatherMs }: { readonly signal: AbortSignal; readonly gatherMs: number },
  onEvent: (event: Event) => void,
): Promise<void> {
  for (let cameMs = -Infinity; !signal.aborted && !stream.closed;) {
    const event = await stream.tryNext();
    if (event === null) continue;
    onEvent(event as Event); // as its pipeline projects it
    if (isFollowed(stream, event as { readonly _id: unknown })) continue;
    const isBusy = performance.now() - cameMs < busyMs;
    if (isBusy) await pause(gatherMs, signal);
    cameMs = performance.now();
  }
}

/**
 * More of the same answer is here. After the last event of an answer a stream resumes from where the server has looked, no more from the event
 * (https://github.com/mongodb/specifications/blob/master/source/change-streams/change-streams.md#updating-the-cached-resume-token).
 */
const isFollowed = ({ resumeToken }: FollowedStream, { _id }: { readonly _id: unknown }): boolean =>
  resumeToken === _id;
