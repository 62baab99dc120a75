// Ids of requests as they are typed.
import { maxTextLength } from '../requests/document.js';
import { limitedFaults, UsageFault } from './usage-fault.js';

/**
 * The same ids, each once; digits of an ObjectId in lower case.
 * @throws UsageFault where one cannot be the id of a request
 */
export function checkedRequestIds(typed: readonly string[]): readonly string[] {
  const faults = typed
    .filter((id) => id === '' || id.length > maxTextLength)
    .map((id) => `The id of a request must have 1 to ${maxTextLength} characters, got ${id.length}`);
  if (faults.length > 0) throw new UsageFault(limitedFaults(faults));
  return [...new Set(typed.map((id) => (/^[0-9a-f]{24}$/i.test(id) ? id.toLowerCase() : id)))];
}
