// Logs an outage of MongoDB once, however many steps fail during it: one line at its start, one when the kind
// of fault changes, one at its end.
import type { Logger } from '../../base/logger.js';
import { isPassing, toMongoFault } from '../../mongo/faults.js';

export class OutageLog {
  /** The current fault of MongoDB. */
  #failing: string | undefined;

  constructor(
    private readonly logger: Logger,
    /** Aborted when the process abandons its remaining work: faults are expected from then on. */
    private readonly givingUp: AbortSignal,
  ) {}

  /** A step failed; a later poll repeats it. */
  report(error: unknown): void {
    if (this.givingUp.aborted) return;
    const fault = toMongoFault(error, 'working on requests');
    if (fault.message === this.#failing) return;
    this.#failing = fault.message;
    const level = isPassing(error) ? 'warn' : 'error';
    this.logger[level]({ err: fault }, 'MongoDB is failing; requests are paused until it recovers');
  }

  /** MongoDB completed every step. */
  end(): void {
    if (this.#failing === undefined) return;
    this.#failing = undefined;
    this.logger.info('MongoDB has recovered; requests continue');
  }
}
