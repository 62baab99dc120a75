// What a scan has listed when it is asked to stop is still written, for a short time: it would be listed again otherwise.
import { isLeaseLost } from './state.js';

export interface Grace {
  /** Aborted when writing must end too, with the reason of the stop. */
  readonly signal: AbortSignal;
  /** Nothing is waited for any more. */
  readonly end: () => void;
}

/** Begins with the stop and lasts for `ms`; there is none where the lease is lost, as another run may write by then. */
export function graceAfter(stop: AbortSignal, ms: number): Grace {
  const over = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const begin = (): void => {
    if (isLeaseLost(stop.reason)) over.abort(stop.reason);
    else timer = setTimeout(() => over.abort(stop.reason), ms);
  };
  if (stop.aborted) begin();
  else stop.addEventListener('abort', begin, { once: true });
  return {
    signal: over.signal,
    end: () => {
      clearTimeout(timer);
      stop.removeEventListener('abort', begin);
    },
  };
}
