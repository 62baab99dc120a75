// Requests that no claim takes: nonsense fails at once, what a newer version may know is given its time first.
import type { mongo } from 'mongoose';
import type { Logger } from '../../base/logger.js';
import {
  commandFault,
  commandNames,
  describeValue,
  type FieldSizes,
  oversizeOf,
  parseRequest,
  readableBytes,
  statusFault,
} from '../commands.js';
import {
  bytesOf,
  createdAt,
  expireAt,
  type Filter,
  isPending,
  isUndated,
  isUnknownForLong,
  leaseOver,
  literal,
  makeUpdatable,
  ownLease,
  readableProjection,
  replaceFields,
  type Retention,
  unknownSince,
  withoutEnd,
} from '../expressions.js';
import { commandLabel } from '../observer.js';
import { type RequestId, requestStatuses, type StoredError } from '../request.js';
import type { GuardedUpdates } from './guarded-updates.js';

/** A list of words counts as a word to `$type`. No version has a command that is longer than a command may be. */
const isNoWord: Filter = {
  $or: [
    { command: { $not: { $type: 'string' } } },
    { command: { $type: 'array' } },
    { $expr: { $gt: [bytesOf('$command'), readableBytes.command] } },
  ],
};
const hasOddStatus: Filter = { status: { $nin: [null, ...requestStatuses] } };
const hasOddCommand: Filter = { ...isPending, command: { $nin: commandNames } };
/** Types that sort beside dates on the far side, which "not after now" does not find. */
const hasOddRunAt: Filter = {
  ...isPending,
  runAt: {
    $type: ['minKey', 'maxKey', 'timestamp', 'regex', 'javascript', 'javascriptWithScope', 'dbPointer'],
  },
};

/** What a daemon of any version may have written: a word beside a lease. */
const mayBeDaemons: Filter = {
  $and: [ownLease, { status: { $type: 'string' } }, { status: { $not: { $type: 'array' } } }],
};

const isNonsense: readonly Filter[] = [
  { ...hasOddStatus, $nor: [mayBeDaemons] },
  { ...hasOddCommand, ...isNoWord },
  hasOddRunAt,
];
/** Another version's, perhaps. */
const mayBeAnothers: readonly Filter[] = [{ ...hasOddStatus, ...mayBeDaemons }, hasOddCommand];

export class UnusableRequests {
  constructor(
    private readonly chores: GuardedUpdates,
    private readonly keep: Retention,
    private readonly logger: Logger,
  ) {}

  /**
   * Fails nonsense at once, and what nobody has worked on for ten minutes since it was seen first, came due, or was put down by its last
   * holder. Returns how many. @throws what the driver throws; what was done stays done
   */
  async fail(signal: AbortSignal, only: Filter = {}): Promise<number> {
    let failed = 0;
    for (const filter of isNonsense) failed += await this.#failAll(filter, signal, only);
    for (const filter of mayBeAnothers) {
      await this.#date({ ...filter, ...isUndated }, signal, only);
      failed += await this.#failAll({ ...filter, ...isUnknownForLong }, signal, only);
    }
    return failed;
  }

  async #date(filter: Filter, signal: AbortSignal, only: Filter): Promise<void> {
    const pipeline = [makeUpdatable, replaceFields({ createdAt, unknownSince })];
    await this.chores.each({ ...filter, ...only }, signal, async (id) => {
      const { matchedCount } = await this.chores.requests.updateOne(
        { ...filter, _id: { $eq: id } },
        pipeline,
      );
      return matchedCount === 1;
    });
  }

  #failAll(filter: Filter, signal: AbortSignal, only: Filter): Promise<number> {
    return this.chores.each({ ...filter, ...only }, signal, (id) => this.#failOne(id, filter));
  }

  async #failOne(id: RequestId, filter: Filter): Promise<boolean> {
    const guard = { _id: { $eq: id }, ...filter };
    const read = await this.chores.requests.findOne(guard, {
      projection: { ...readableProjection, status: boundedStatus },
    });
    if (!read) return false;
    const error = oddityOf(read);
    const found = await this.chores.update(guard, [
      makeUpdatable,
      withoutEnd,
      replaceFields({
        status: 'failed',
        createdAt,
        finishedAt: '$$NOW',
        expireAt: expireAt('failed', this.keep),
        error: literal(error),
      }),
      { $unset: [...leaseOver, 'cancel'] },
    ]);
    if (!found) return false;
    this.logger.warn({ requestId: id, command: commandLabel(found['command']), error }, 'Request refused');
    this.chores.ended(found);
    return true;
  }
}

const boundedStatus = {
  $cond: [{ $lte: [bytesOf('$status'), 1_024] }, '$status', 'too-large'],
};

/** What is wrong with it, from the projection of `#failOne`. */
function oddityOf({ status, body, sizes }: mongo.BSON.Document): StoredError {
  const fields = body as mongo.BSON.Document; // computed by readableProjection
  const command: unknown = fields['command'];
  const parsed = parseRequest(fields, oversizeOf(sizes as FieldSizes)); // computed by readableProjection
  const isStatusOdd = status != null && !requestStatuses.some((known) => known === status);
  const faults = [
    ...(isStatusOdd ? [statusFault(describeValue(status))] : []),
    ...(parsed.kind === 'invalid' ? parsed.faults : []),
  ];
  if (!isStatusOdd && typeof command === 'string' && commandLabel(command) === 'unknown') {
    return { code: 'unknown_command', message: commandFault(command), faults };
  }
  return { code: 'invalid_request', message: faults.join('; '), faults };
}
