// A mirror that reads as the real one does and writes nothing: what a dry run works on.
import type { Mirror, StripeId } from './ports.js';

/**
 * Every write counts as written, so that the result tells what would have been done; a second one of the same object as unchanged,
 * as it would be. One dry run a mirror.
 */
export function dryRunOf(mirror: Mirror): Mirror {
  const written = new Set<StripeId>();
  return {
    ...mirror,
    write: (writes) =>
      Promise.resolve(
        writes.map(({ id }) => {
          const isAgain = written.has(id);
          written.add(id);
          return { kind: isAgain ? 'unchanged' : 'written' };
        }),
      ),
  };
}
