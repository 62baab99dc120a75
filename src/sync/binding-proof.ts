// Proof that a key which cannot tell its account belongs to the mirrored one. Objects that were read from
// that account are retrieved with the key and compared by `created`, which never changes. An id proves
// nothing: an account whose data was copied has the same ids.
import { Fault } from '../base/errors.js';
import { type CallOptions, loggedId, type Mirror, type Sample, type Source, type StripeId } from './ports.js';

/** At most so many retrieves of each group of samples. */
const sampleSize = 10;
/** So many equal objects end the search for one that differs. */
const enoughMatches = 3;

export interface ProofOptions {
  /** Reads with the key in question. */
  readonly source: Pick<Source, 'retrieve'>;
  readonly mirror: Pick<Mirror, 'samples'>;
  /** The newest object that a proven key listed; undefined if it listed none. */
  readonly witness: Sample | undefined;
  /** Objects of the mirror that were observed up to then prove nothing. */
  readonly provesAfter: Date | undefined;
  readonly call: CallOptions;
  /** What a user can do about a refusal; a part of the message. */
  readonly remedies: string;
}

/**
 * What shows that the key is of the mirrored account. `unclaimed`: the mirror is empty, and no proven key has
 * listed any object. There is nothing to compare, and nothing to lose.
 * @throws a fatal Fault: `account_mismatch` where something speaks against the key, `account_unproven` where
 *   nothing speaks for it; what `retrieve` throws
 */
export async function requireProof(options: ProofOptions): Promise<'same_objects' | 'unclaimed'> {
  const { mirror, witness, provesAfter, remedies } = options;
  const listed = await compare(options, witness ? [witness] : [], 1);
  if (listed.same > 0) return 'same_objects';
  if (listed.unknown > 0) throw strangers(listed, remedies);

  const samples = await mirror.samples(sampleSize, provesAfter);
  if (samples.isEmpty && !witness) return 'unclaimed';
  const read = await compare(options, samples.read, enoughMatches);
  if (read.same > 0) return 'same_objects';
  if (read.unknown > 0) throw strangers(read, remedies);

  // A batch may have told of objects that never existed, even of those of another account.
  const told = await compare(options, samples.told, Infinity);
  if (told.same > told.unknown) return 'same_objects';
  throw new Fault(
    'account_unproven',
    `Nothing proves that STRIPE_API_KEY belongs to the mirrored account: the key may not read its account, and ${retrievedText(listed, read, told)}; ${remedies}`,
  );
}

/** How many objects Stripe returned with the same `created`, does not know, or returned as deleted. */
interface Comparison {
  readonly same: number;
  readonly unknown: number;
  /** Or without a `created` for another reason. */
  readonly deleted: number;
}

/** @throws Fault `account_mismatch` at the first object with another `created` */
async function compare(
  { source, call, remedies }: ProofOptions,
  samples: readonly Sample[],
  enough: number,
): Promise<Comparison> {
  const counts = { same: 0, unknown: 0, deleted: 0 };
  for (const { id, created } of samples) {
    if (counts.same >= enough) break;
    const answer = await source.retrieve(id, call);
    if (answer.kind === 'no_url') continue;
    if (answer.kind === 'not_in_account') counts.unknown += 1;
    else if (answer.kind === 'deleted' || typeof answer.object['created'] !== 'number') counts.deleted += 1;
    else if (answer.object['created'] === created) counts.same += 1;
    else throw copied(id, remedies);
  }
  return counts;
}

const copied = (id: StripeId, remedies: string): Fault =>
  new Fault(
    'account_mismatch',
    `STRIPE_API_KEY belongs to another account than the database mirrors: ${loggedId(id)} was created at another time there, as in an account with copied data; ${remedies}`,
  );

const strangers = ({ unknown, deleted }: Comparison, remedies: string): Fault =>
  new Fault(
    'account_mismatch',
    `STRIPE_API_KEY belongs to another account than the database mirrors, or the account's data was deleted: with this key, Stripe knows none of that account's customers that were asked for (${unknown} unknown, ${deleted} deleted); ${remedies}`,
  );

function retrievedText(...groups: readonly Comparison[]): string {
  const sum = (of: keyof Comparison): number => groups.reduce((total, group) => total + group[of], 0);
  const [same, unknown, deleted] = [sum('same'), sum('unknown'), sum('deleted')];
  const all = same + unknown + deleted;
  if (all === 0) return 'the mirror holds no customer that it could be compared by';
  return `of the ${all} mirrored customers that were asked for Stripe returned ${same} with the same created, ${deleted} as deleted, and ${unknown} not at all`;
}
