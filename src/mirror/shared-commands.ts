// Small reads and writes of the mirror that happen at the same time go to MongoDB as one command: of many requests of one customer each, and
// beside a scan, that is most of the work saved. What concerns one of them stays with it.
import { GroupCommit } from '../base/group-commit.js';
import { isPassing } from '../mongo/faults.js';
import type { Head, MirrorWrite, MirrorWriteResult, StripeId } from '../sync/ports.js';

/** What has more is large enough to go by itself, and would make others wait. */
const few = 10;

type HeadsOf = (ids: readonly StripeId[]) => Promise<Map<StripeId, Head>>;

/** As `headsOf`, several at once. */
export function sharingReads(headsOf: HeadsOf): HeadsOf {
  const group = new GroupCommit<readonly StripeId[], Map<StripeId, Head>>(async (asked) => {
    const heads = await headsOf([...new Set(asked.flat())]);
    return asked.map((ids) => new Map(ids.flatMap((id) => entryOf(id, heads.get(id)))));
  });
  return (ids) => (ids.length > few ? headsOf(ids) : group.run(ids));
}

const entryOf = (id: StripeId, head: Head | undefined): [StripeId, Head][] => (head ? [[id, head]] : []);

type Write = (writes: readonly MirrorWrite[]) => Promise<readonly MirrorWriteResult[]>;

interface Asked {
  readonly writes: readonly MirrorWrite[];
  /** What it throws concerns these writes alone. */
  readonly beforeSend: () => void;
}

/** As `write`, several at once. */
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
  // Refused as a whole, for the sake of one of them perhaps.
  if (!answer) return asked.map(alone);
  const results = new Map<Asked, readonly MirrorWriteResult[]>();
  let from = 0;
  for (const each of together) {
    results.set(each, answer.slice(from, from + each.writes.length));
    from += each.writes.length;
  }
  return asked.map(async (each) => results.get(each) ?? alone(each));
}

/** Two writes of one object in one command could not be told apart by what they leave: those that come second go alone. */
function withoutSharedIds(asked: readonly Asked[]): readonly Asked[] {
  const seen = new Set<StripeId>();
  return asked.filter(({ writes }) => {
    if (writes.some(({ id }) => seen.has(id))) return false;
    for (const { id } of writes) seen.add(id);
    return true;
  });
}

/** One that may not be sent any more goes alone, and is told why. */
function mayBeSent({ beforeSend }: Asked): boolean {
  try {
    beforeSend();
    return true;
  } catch {
    return false;
  }
}
