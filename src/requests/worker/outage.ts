// Logs an outage of MongoDB once, however many steps fail during it: one line at its start, one when the kind
// of fault changes, one at its end.
import type { Logger } from '../../base/logger.js';
import { isPassing, isRefusal, toMongoFault } from '../../mongo/faults.js';
import type { WritesObserver } from '../../mongo/refused-writes.js';

/** A sweep that only reads does not show that claims are taken again. Each poll repeats what was refused. */
const refusedForMs = 60_000;

export class OutageLog {
  /** The current faults of MongoDB. */
  readonly #failing = new Set<string>();
  #refusedAtMs = -Infinity;

  constructor(
    private readonly logger: Logger,
    /** Aborted when the process abandons its remaining work: faults are expected from then on. */
    private readonly givingUp: AbortSignal,
    private readonly observer: WritesObserver,
  ) {}

  /** A step failed; a later poll repeats it. */
  report(error: unknown): void {
    if (this.givingUp.aborted) return;
    if (isRefusal(error)) {
      this.#refusedAtMs = performance.now();
      this.observer.writesRefused('requests');
    }
    const fault = toMongoFault(error, 'working on requests');
    if (this.#failing.has(fault.message)) return;
    // Several steps are refused in turn: each is told once.
    if (!isRefusal(error)) this.#failing.clear();
    this.#failing.add(fault.message);
    const level = isPassing(error) ? 'warn' : 'error';
    this.logger[level]({ err: fault }, 'MongoDB is failing; requests are paused until it recovers');
  }

  /** MongoDB completed every step. */
  end(): void {
    if (this.#failing.size === 0 || performance.now() - this.#refusedAtMs < refusedForMs) return;
    this.#failing.clear();
    this.observer.writesAccepted('requests');
    this.logger.info('MongoDB has recovered; requests continue');
  }
}
