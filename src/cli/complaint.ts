// An error as a person reads it on stderr: one clear sentence for each fault, a stack for nobody but the maintainers.
import { ConfigFault } from '../config.js';
import { isFault, type Fault } from '../errors.js';
import { createLogger } from '../logger.js';
import { Interrupted, OutOfTime } from './interruption.js';
import { Refusal } from './refusal.js';
import type { Terminal } from './terminal.js';
import { UsageFault } from './usage-fault.js';

/** Tells what went wrong. What nobody expected is logged with the lines of its stack, without its message, which may quote a document. */
export function complain(terminal: Terminal, error: unknown): void {
  if (error instanceof Interrupted) return;
  if (isFault(error) || error instanceof OutOfTime || error instanceof Refusal) {
    terminal.note(complaintOf(error));
    return;
  }
  createLogger({ level: 'error', format: 'auto' }, 'stderr').fatal({ err: error }, 'Unexpected error');
}

function complaintOf(error: Fault | OutOfTime | Refusal): string {
  const hasFaults = error instanceof ConfigFault || error instanceof UsageFault;
  const faults = hasFaults ? error.faults : [error.message];
  return faults.map((each) => `error: ${each}`).join('\n');
}
