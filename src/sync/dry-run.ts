// A mirror that reads as the real one does and writes nothing: what a dry run works on.
import type { Mirror } from './ports.js';

/** Every write counts as written, so that the result tells what would have been done. */
export const dryRunOf = (mirror: Mirror): Mirror => ({
  ...mirror,
  write: (writes) => Promise.resolve(writes.map(() => ({ kind: 'written' as const }))),
});
