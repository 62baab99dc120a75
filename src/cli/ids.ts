// Ids of customers as they are typed.
import { describeValue } from '../requests/describe-value.js';
import { isStripeId } from '../sync/ports.js';
import { limitedFaults, UsageFault } from './usage-fault.js';

/**
 * The same ids.
 * @throws UsageFault that names each one that cannot be an id
 */
export function checkedIds(ids: readonly string[]): readonly string[] {
  const faults = ids
    .filter((id) => !isStripeId(id))
    .map((id) => `An id must be 1 to 255 letters, digits, _ or -, such as cus_123, got ${describeValue(id)}`);
  if (faults.length > 0) throw new UsageFault(limitedFaults(faults));
  return ids;
}
