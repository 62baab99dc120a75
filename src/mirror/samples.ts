// The mirrored objects that can prove a key: from both ends of the index on `created`, so that the read stays
// bounded in a mirror of any size.
import type { mongo } from 'mongoose';
import { persistently } from '../mongo/faults.js';
import type { ProofSamples, Sample } from '../sync/ports.js';
import type { MirrorDocument } from './operations.js';

/** Documents read from each end of the index, among which those of Stripe's reads are looked for. */
const perEnd = 500;

/** Also in an adopted collection, which no sync has written yet. */
const writtenByUs = { _sync: { $type: 'object' } } as const;

const isWrittenByUs = ({ _id, _sync }: MirrorDocument): boolean =>
  typeof _id === 'string' && typeof _sync === 'object';

interface Found extends Sample {
  readonly isRead: boolean;
}

/** Implements `Mirror.samples`. */
export async function readSamples(
  collection: mongo.Collection<MirrorDocument>,
  count: number,
  after?: Date,
): Promise<ProofSamples> {
  const fromEnd = (direction: 1 | -1): Promise<readonly Found[]> =>
    collection
      .find(
        {
          created: { $gte: -Infinity }, // every number, and nothing of another type
          '_sync.deletedBy': { $ne: 'stripe' },
          ...(after && { '_sync.observed.to': { $gt: after } }),
        },
        {
          sort: { created: direction, _id: direction },
          limit: perEnd,
          projection: { created: 1, '_sync.source': 1 },
        },
      )
      .toArray()
      // An application's documents prove nothing.
      .then((documents) => documents.filter(isWrittenByUs).map(toFound));
  const [newest, oldest, any] = await persistently('sampling the mirror', () =>
    Promise.all([fromEnd(-1), fromEnd(1), collection.findOne(writtenByUs, { projection: { _id: 1 } })]),
  );
  const pick = (isRead: boolean): readonly Sample[] => {
    const wanted = (found: readonly Found[]) => found.filter((each) => each.isRead === isRead);
    return inTurn(wanted(newest), wanted(oldest), count);
  };
  return { isEmpty: any === null, read: pick(true), told: pick(false) };
}

function toFound({ _id: id, created, _sync }: MirrorDocument): Found {
  const source = _sync?.source;
  return { id, created: Number(created), isRead: source === 'list' || source === 'retrieve' };
}

/** The newest and the oldest in turn, each id once. */
function inTurn(newest: readonly Found[], oldest: readonly Found[], count: number): readonly Sample[] {
  const picked = new Map<string, Sample>();
  for (let place = 0; place < perEnd && picked.size < count; place += 1) {
    for (const found of [newest[place], oldest[place]]) {
      if (found && picked.size < count) picked.set(found.id, { id: found.id, created: found.created });
    }
  }
  return [...picked.values()];
}
