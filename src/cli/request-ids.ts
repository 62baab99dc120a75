// Ids of requests as they are typed.
import { describeValue } from '../requests/describe-value.js';
import { limitedFaults, UsageFault } from './usage-fault.js';

/**
 * The same ids in lower case, each once.
 * @throws UsageFault that names each one that cannot be the id of a request
 */
export function checkedRequestIds(typed: readonly string[]): readonly string[] {
  const faults = typed
    .filter((id) => !/^[0-9a-f]{24}$/i.test(id))
    .map((id) => `The id of a request must be 24 hexadecimal digits, got ${describeValue(id)}`);
  if (faults.length > 0) throw new UsageFault(limitedFaults(faults));
  return [...new Set(typed.map((id) => id.toLowerCase()))];
}
