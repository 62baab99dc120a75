// Small concurrent reads and writes of the mirror are sent as one command. With many requests of one customer
// each, that saves most of the work. A fault of one of them does not affect the others.
import { GroupCommit } from '../base/group-commit.js';
import { isPassing } from '../mongo/faults.js';
import type { MirrorWrite, MirrorWriteResult, StripeId } from '../sync/ports.js';

/** Larger reads and writes are sent alone, as they would make others wait. */
const few = 10;

type ReadById<Found> = (ids: readonly StripeId[]) => Promise<Map<StripeId, Found>>;

/** `read`, with small reads at the same time in one command. @param most ids of a read that is small */
export function sharingReads<Found extends object>(
  read: ReadById<Found>,
  { most = few }: { readonly most?: number } = {},
): ReadById<Found> {
  const group = new GroupCommit<readonly StripeId[], Map<StripeId, Found>>(async (asked) => {
    const all = await read([...new Set(asked.flat())]);
    return asked.map((ids) => new Map(ids.flatMap((id) => entryOf(id, all.get(id)))));
  });
  return (ids) => (ids.length > most ? read(ids) : group.run(ids));
}

const entryOf = <Found>(id: StripeId, found: Found | undefined): [StripeId, Found][] =>
  found === undefined ? [] : [[id, found]];

type Write = (writes: readonly MirrorWrite[]) => Promise<readonly MirrorWriteResult[]>;

interface Asked {
  readonly writes: readonly MirrorWrite[];
  /** An error that it throws affects only these writes. */
  readonly beforeSend: () => void;
}

/** `write`, with small writes at the same time in one command. */
export function sharingWrites(
  write: Write,
): (writes: readonly MirrorWrite[], beforeSend?: () => void) => ReturnType<Write> {
  const alone = async ({ writes, beforeSend }: Asked): ReturnType<Write> => {
    beforeSend();
    return write(writes);
  };
  const group = new GroupCommit<Asked, readonly MirrorWriteResult[]>((asked) =>
    writeTogether(asked, write, alone),
  );
  return (writes, beforeSend = () => undefined) =>
    writes.length > few ? alone({ writes, beforeSend }) : group.run({ writes, beforeSend });
}

async function writeTogether(
  asked: readonly Asked[],
  write: Write,
  alone: (asked: Asked) => ReturnType<Write>,
): Promise<readonly ReturnType<Write>[]> {
  const together = withoutSharedIds(asked).filter(mayBeSent);
  if (together.length < 2) return asked.map(alone);
  const answer = await write(together.flatMap(({ writes }) => writes)).catch((error: unknown) => {
    if (isPassing(error)) throw error;
  });
  // MongoDB refused the whole command, perhaps because of one write.
  if (!answer) return asked.map(alone);
  const results = new Map<Asked, readonly MirrorWriteResult[]>();
  let from = 0;
  for (const each of together) {
    results.set(each, answer.slice(from, from + each.writes.length));
    from += each.writes.length;
  }
  return asked.map(async (each) => results.get(each) ?? alone(each));
}

/**
 * The second of two writes of one object is sent alone. In one command their results could not be told apart.
 */
function withoutSharedIds(asked: readonly Asked[]): readonly Asked[] {
  const seen = new Set<StripeId>();
  return asked.filter(({ writes }) => {
    if (writes.some(({ id }) => seen.has(id))) return false;
    for (const { id } of writes) seen.add(id);
    return true;
  });
}

/** A write whose `beforeSend` throws is sent alone, so that it fails alone. */
function mayBeSent({ beforeSend }: Asked): boolean {
  try {
    beforeSend();
    return true;
  } catch {
    return false;
  }
}
