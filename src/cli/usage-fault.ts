// What the user typed or handed over cannot be used: exit code 2. Nothing has been changed anywhere.
import { Fault } from '../errors.js';

/** `faults` has one sentence each; they hold no customers' data. */
export class UsageFault extends Fault {
  constructor(readonly faults: readonly string[]) {
    super('invalid_request', faults.join('; '), { kind: 'fatal' });
  }
}

const mostTold = 20;

/** The first twenty, and how many more there are. */
export function limitedFaults(faults: readonly string[]): readonly string[] {
  const more = faults.length - mostTold;
  return more > 0 ? [...faults.slice(0, mostTold), `${more} more faults of this kind`] : faults;
}
