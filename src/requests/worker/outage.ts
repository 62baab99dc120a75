// Logs an outage of MongoDB once, however many steps fail during it: one line at its start, one when the kind
// of fault changes, one at its end.
import type { Logger } from '../../base/logger.js';
import { isPassing, toMongoFault } from '../../mongo/faults.js';

export class OutageLog {
  /** What MongoDB fails with at present. */
  #failing: string | undefined;

  constructor(
    private readonly logger: Logger,
    /** Aborted when the process gives up what is left: from then on faults are expected. */
    private readonly givingUp: AbortSignal,
  ) {}

  /** A step failed that a later poll does again. */
  report(error: unknown): void {
    if (this.givingUp.aborted) return;
    const fault = toMongoFault(error, 'working on requests');
    if (fault.message === this.#failing) return;
    this.#failing = fault.message;
    const level = isPassing(error) ? 'warn' : 'error';
    this.logger[level]({ err: fault }, 'MongoDB is failing; requests are paused until it recovers');
  }

  /** MongoDB did all that was asked of it. */
  end(): void {
    if (this.#failing === undefined) return;
    this.#failing = undefined;
    this.logger.info('MongoDB has recovered; requests go on');
  }
}
