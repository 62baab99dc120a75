// Holds calls back that a refused key would only have refused again: after a 401 all of them, after a 403 those to its endpoint.
// One call in 20 seconds finds out whether it is over.
import { Fault } from '../errors.js';

/** Three calls a minute. */
const msBetweenTrials = 20_000;

const everything = '*';

export class KeyGate {
  readonly #closed = new Map<string, { fault: Fault; nextTrialAt: number }>();
  readonly #now: () => number;

  /** @param now milliseconds of a clock that never goes back */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** What Stripe refuses the key for at present, once each. */
  get refusals(): readonly Fault['code'][] {
    return [...new Set([...this.#closed.values()].map(({ fault }) => fault.code))];
  }

  /** The fault to fail with at once instead of calling; undefined where a call may be made. */
  heldBack(endpoint: string): Fault | undefined {
    for (const scope of [everything, endpoint]) {
      const closed = this.#closed.get(scope);
      const waitMs = (closed?.nextTrialAt ?? 0) - this.#now();
      if (closed && waitMs > 0) return heldBackFault(closed.fault, waitMs);
    }
    return undefined;
  }

  /** As `heldBack`, but whoever gets through takes the trial and makes the call. */
  enter(endpoint: string): Fault | undefined {
    const fault = this.heldBack(endpoint);
    if (fault) return fault;
    for (const scope of [everything, endpoint]) {
      const closed = this.#closed.get(scope);
      if (closed) closed.nextTrialAt = this.#now() + msBetweenTrials;
    }
    return undefined;
  }

  /** Stripe refused the key. True when that is news. */
  refused(endpoint: string, fault: Fault): boolean {
    const scope = fault.code === 'stripe_key_refused' ? everything : endpoint;
    const isNews = !this.#closed.has(scope);
    this.#closed.set(scope, { fault, nextTrialAt: this.#now() + msBetweenTrials });
    return isNews;
  }

  succeeded(endpoint: string): void {
    this.#closed.delete(everything);
    this.#closed.delete(endpoint);
  }
}

const heldBackFault = (fault: Fault, waitMs: number): Fault =>
  new Fault(fault.code, fault.message, {
    kind: fault.kind,
    requestId: fault.requestId,
    statusCode: fault.statusCode,
    ...(fault.kind === 'retryable' && { retryAfterMs: Math.ceil(waitMs) }),
  });
