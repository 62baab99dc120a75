// Requests that no claim takes. Malformed ones fail at once; those that a newer version may know fail after
// ten minutes.
import type { mongo } from 'mongoose';
import type { Logger } from '../../base/logger.js';
import { commandNames } from '../commands.js';
import {
  bytesOf,
  createdAt,
  endWith,
  type Filter,
  isPending,
  isUndated,
  isUnknownForLong,
  literal,
  makeUpdatable,
  ownLease,
  type Pipeline,
  readableProjection,
  replaceFields,
  type Retention,
  unknownSince,
} from '../expressions.js';
import { commandLabel } from '../observer.js';
import {
  commandFault,
  describeValue,
  type FieldSizes,
  oversizeOf,
  parseRequest,
  readableBytes,
  statusFault,
} from '../parse.js';
import { requestStatuses, type StoredError } from '../request.js';
import type { GuardedUpdates } from './guarded-updates.js';

/** To `$type`, a list of strings counts as a string. No version has a command longer than the maximum. */
const isNoWord: Filter = {
  $or: [
    { command: { $not: { $type: 'string' } } },
    { command: { $type: 'array' } },
    { $expr: { $gt: [bytesOf('$command'), readableBytes.command] } },
  ],
};
const hasUnusableStatus: Filter = { status: { $nin: [null, ...requestStatuses] } };
const hasUnusableCommand: Filter = { ...isPending, command: { $nin: commandNames } };
/** Types that sort beside dates on the far side, which "not after now" does not find. */
const hasUnusableRunAt: Filter = {
  ...isPending,
  runAt: {
    $type: ['minKey', 'maxKey', 'timestamp', 'regex', 'javascript', 'javascriptWithScope', 'dbPointer'],
  },
};

/** A daemon of any version may have written it: a text as status, beside a lease. */
const mayBeDaemons: Filter = {
  $and: [ownLease, { status: { $type: 'string' } }, { status: { $not: { $type: 'array' } } }],
};

const isNonsense: readonly Filter[] = [
  { ...hasUnusableStatus, $nor: [mayBeDaemons] },
  { ...hasUnusableCommand, ...isNoWord },
  hasUnusableRunAt,
];
/** Another version may know them. */
const mayBeAnothers: readonly Filter[] = [{ ...hasUnusableStatus, ...mayBeDaemons }, hasUnusableCommand];

export class UnusableRequests {
  constructor(
    private readonly updates: GuardedUpdates,
    private readonly keep: Retention,
    private readonly logger: Logger,
  ) {}

  /**
   * Fails malformed requests at once, and those that another version may know after ten minutes. The ten
   * minutes count from the latest of three times: a daemon first saw it, it came due, its last holder
   * released it. Returns how many failed.
   * @throws what the driver throws; completed updates remain
   */
  async fail(signal: AbortSignal, only: Filter = {}): Promise<number> {
    let failed = 0;
    for (const filter of isNonsense) failed += await this.#failAll(filter, signal, only);
    for (const filter of mayBeAnothers) {
      const date = [makeUpdatable, replaceFields({ createdAt, unknownSince })];
      await this.updates.all({ ...filter, ...isUndated }, only, date, signal);
      failed += await this.#failAll({ ...filter, ...isUnknownForLong }, signal, only);
    }
    return failed;
  }

  #failAll(filter: Filter, signal: AbortSignal, only: Filter): Promise<number> {
    let error: StoredError | undefined;
    const failing = async (guard: Filter): Promise<Pipeline | undefined> => {
      const projection = { ...readableProjection, status: boundedStatus };
      const found = await this.updates.requests.findOne(guard, { projection });
      if (!found) return undefined;
      error = faultOf(found);
      return [makeUpdatable, ...endWith('failed', this.keep, { error: literal(error) })];
    };
    return this.updates.all(filter, only, failing, signal, (request) => {
      const { _id: requestId, command } = request;
      this.logger.warn(
        { requestId: requestId as unknown, command: commandLabel(command), error },
        'Request refused',
      );
      this.updates.ended(request);
    });
  }
}

const boundedStatus = {
  $cond: [{ $lte: [bytesOf('$status'), 1_024] }, '$status', 'too-large'],
};

/** What is wrong with it, from the projection of `#failAll`. */
function faultOf({ status, body, sizes }: mongo.BSON.Document): StoredError {
  const fields = body as mongo.BSON.Document; // computed by readableProjection
  const command: unknown = fields['command'];
  const parsed = parseRequest(fields, oversizeOf(sizes as FieldSizes)); // computed by readableProjection
  const isStatusUnknown = status != null && !requestStatuses.some((known) => known === status);
  const faults = [
    ...(isStatusUnknown ? [statusFault(describeValue(status))] : []),
    ...(parsed.kind === 'invalid' ? parsed.faults : []),
  ];
  if (!isStatusUnknown && typeof command === 'string' && commandLabel(command) === 'unknown') {
    return { code: 'unknown_command', message: commandFault(command), faults };
  }
  return { code: 'invalid_request', message: faults.join('; '), faults };
}
