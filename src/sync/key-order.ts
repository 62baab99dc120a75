// The keys of an object in the order of canonical JSON. Customers arrive by the hundred with the same keys in the same order: sorting these
// again for each was a third of the time that a page's hashes take.

/** Of the objects with these keys in this order. */
export interface KeyOrder {
  readonly received: readonly string[];
  /** Keys by code unit, and what JSON has before the value of each: the comma, the key and the colon. */
  readonly sorted: readonly { readonly key: string; readonly before: string }[];
}

/** A power of two. More than the kinds of object in a customer; metadata comes with any keys. */
const places = 128;
/** What is larger than anything of Stripe's is not kept. */
const mostKeys = 256;

const known: (KeyOrder | undefined)[] = Array.from({ length: places });

/** @param received as Object.keys gives them */
export function keyOrderOf(received: readonly string[]): KeyOrder {
  const place = placeOf(received);
  const last = known[place];
  if (last && isSame(last.received, received)) return last;
  const keys = [...received].sort();
  const sorted = keys.map((key, at) => ({ key, before: `${at === 0 ? '' : ','}${JSON.stringify(key)}:` }));
  const order = { received, sorted };
  if (received.length <= mostKeys) known[place] = order;
  return order;
}

/** Cheap, and different for most kinds of object. Those that share a place take it from one another. */
function placeOf(keys: readonly string[]): number {
  const first = keys[0]?.length ?? 0;
  const last = keys.at(-1)?.length ?? 0;
  return (keys.length * 31 + first * 7 + last) & (places - 1);
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) return false;
  return true;
}
