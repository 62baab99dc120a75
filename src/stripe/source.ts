// One kind of Stripe object, as the sync reads it. Ids are checked before they are sent, and answers before
// they are used.
import { Fault } from '../base/errors.js';
import type { ListParams, Resource } from '../resources/resource.js';
import type { KeyAccount } from '../sync/binding.js';
import {
  type Answer,
  type CallOptions,
  type ClocksAnswer,
  hasUrl,
  type InvalidEntry,
  isStripeId,
  type ListAnswer,
  type ListQuery,
  loggedId,
  type RetrieveAnswer,
  type Source,
  type StripeId,
  type StripeObject,
  stripeIdText,
} from '../sync/ports.js';
import { type Call, InvalidAnswer, type Reply } from './caller.js';
import { accountEndpoint } from './observer.js';
import type { Refusal } from './classify.js';

export interface SourceOptions {
  readonly resource: Resource;
  readonly livemode: boolean;
  readonly apiVersion: string;
  readonly call: <T>(call: Call<T>, options: CallOptions) => Promise<T>;
  readonly listsAtOnce: () => number;
}

export function createStripeSource({ resource, call, ...told }: SourceOptions): Source {
  const { livemode } = told;
  return {
    object: resource.object,
    ...told,

    async list(query, options) {
      const params = listParams(query);
      return call<ListAnswer>(
        {
          endpoint: resource.list.endpoint,
          send: (stripe, withOptions) => resource.list.send(stripe, params, withOptions),
          read: (reply) => readPage(reply, query, resource, livemode),
          readRefusal: (refusal, answer) => readListRefusal(refusal, answer, query),
        },
        options,
      );
    },

    testClocks: livemode ? undefined : clocksOf(resource, call),

    async retrieve(id, options) {
      requireId(id);
      if (!hasUrl(id)) return { kind: 'no_url', id };
      return call<RetrieveAnswer>(
        {
          endpoint: resource.retrieve.endpoint,
          send: (stripe, withOptions) => resource.retrieve.send(stripe, id, withOptions),
          read: (reply) => readObject(reply, id, resource, livemode),
          readRefusal: (refusal, answer) => readMissing(refusal, answer, id),
        },
        options,
      );
    },
  };
}

function clocksOf({ testClocks }: Resource, call: SourceOptions['call']): Source['testClocks'] {
  if (!testClocks) return undefined;
  return ({ limit, startingAfter }, options) =>
    call<ClocksAnswer>(
      {
        endpoint: testClocks.endpoint,
        send: (stripe, withOptions) => {
          const params = { limit, ...(startingAfter !== undefined && { starting_after: startingAfter }) };
          return testClocks.send(stripe, params, withOptions);
        },
        read: (reply) => readClocks(reply, limit, startingAfter),
        readRefusal: ({ code, param }) =>
          code === 'resource_missing' && param === 'starting_after' ? { kind: 'cursor_gone' } : undefined,
      },
      options,
    );
}

function requireId(id: unknown): asserts id is StripeId {
  if (isStripeId(id)) return;
  throw new Fault('invalid_id', `The id of an object must be ${stripeIdText}`);
}

function listParams({ limit, startingAfter, gte, lt, testClock }: ListQuery): ListParams {
  if (startingAfter !== undefined) requireId(startingAfter);
  const created = { ...(gte !== undefined && { gte }), ...(lt !== undefined && { lt }) };
  return {
    limit,
    ...(startingAfter !== undefined && { starting_after: startingAfter }),
    ...(Object.keys(created).length > 0 && { created }),
    ...(testClock !== undefined && { test_clock: testClock }),
  };
}

/** A cursor or a test clock that is gone. Of a clock nothing is left then, as it takes its objects along. */
function readListRefusal(
  { code, param }: Refusal,
  { observed, receivedAtMs }: Answer,
  { testClock }: ListQuery,
): ListAnswer | undefined {
  if (code !== 'resource_missing') return undefined;
  if (param === 'starting_after') return { kind: 'cursor_gone' };
  if (param !== 'test_clock' || testClock === undefined) return undefined;
  const stripeTime = Math.floor(observed.from.getTime() / 1_000);
  return { kind: 'page', objects: [], invalid: [], hasMore: false, stripeTime, observed, receivedAtMs };
}

/** A clock without a usable id would make its customers seem gone, so it is refused. */
function readClocks(
  { body, observed, receivedAtMs, stripeTime }: Reply,
  limit: number,
  startingAfter: string | undefined,
): ClocksAnswer {
  if (!isRecord(body) || !Array.isArray(body['data'])) throw new InvalidAnswer('no data array');
  const { data, has_more: hasMore } = body;
  if (typeof hasMore !== 'boolean') throw new InvalidAnswer('no has_more');
  if (hasMore && data.length === 0) throw new InvalidAnswer('has_more on a page without an entry');
  if (data.length > limit) throw new InvalidAnswer(`${data.length} rows, more than the limit of ${limit}`);
  const clocks = data.map((clock: unknown) => {
    if (!isRecord(clock) || typeof clock['id'] !== 'string' || clock['id'] === '')
      throw new InvalidAnswer('a test clock without an id');
    if (clock['livemode'] === true) throw new InvalidAnswer('a test clock of live mode');
    return clock['id'];
  });
  if (new Set(clocks).size < clocks.length) throw new InvalidAnswer('one id twice in a page');
  if (startingAfter !== undefined && clocks.includes(startingAfter))
    throw new InvalidAnswer('the page starts at its cursor, not after it');
  return { kind: 'page', clocks, hasMore, stripeTime, observed, receivedAtMs };
}

function readPage(reply: Reply, query: ListQuery, resource: Resource, livemode: boolean): ListAnswer {
  const { body, observed, receivedAtMs, stripeTime } = reply;
  if (!isRecord(body) || !Array.isArray(body['data'])) throw new InvalidAnswer('no data array');
  const { data, has_more: hasMore } = body;
  if (typeof hasMore !== 'boolean') throw new InvalidAnswer('no has_more');
  const objects: StripeObject[] = [];
  const invalid: InvalidEntry[] = [];
  for (const [index, entry] of (data as readonly unknown[]).entries()) {
    // Stripe lists no deleted objects. Stored as it came, one would seem to live, without its fields.
    if (isObjectOf(entry, resource) && entry['deleted'] !== true) objects.push(entry);
    else invalid.push({ place: index + 1, id: textIdOf(entry) });
  }
  // Without a cursor the same page would be requested forever.
  if (hasMore && objects.length === 0) throw new InvalidAnswer('has_more on a page without a usable entry');
  for (const object of objects) requireMode(object, livemode);
  requireAnswerTo(query, data.length, objects);
  return {
    kind: 'page',
    objects,
    invalid,
    hasMore,
    stripeTime,
    observed,
    receivedAtMs,
  };
}

/**
 * Refuses a page that does not answer the query: from a server, proxy or emulator that ignores a parameter. A
 * scan that believed it would miss objects, or never end.
 */
function requireAnswerTo(
  { limit, startingAfter, gte = -Infinity, lt = Infinity, testClock }: ListQuery,
  rows: number,
  objects: readonly StripeObject[],
): void {
  if (rows > limit) throw new InvalidAnswer(`${rows} rows, more than the limit of ${limit}`);
  const ids = new Set<StripeId>();
  for (const object of objects) {
    const { id, created } = object;
    if (id === startingAfter) throw new InvalidAnswer('the page starts at its cursor, not after it');
    if (ids.has(id)) throw new InvalidAnswer('one id twice in a page');
    ids.add(id);
    if (testClock !== undefined && object['test_clock'] !== testClock) {
      throw new InvalidAnswer('a row of another test clock, or of none');
    }
    if (typeof created === 'number' && (created < gte || created >= lt)) {
      throw new InvalidAnswer('a row outside the requested interval of created');
    }
  }
}

function readObject(
  { body, observed, receivedAtMs }: Reply,
  id: StripeId,
  resource: Resource,
  livemode: boolean,
): RetrieveAnswer {
  if (!isObjectOf(body, resource) || body.id !== id)
    throw new InvalidAnswer(`not the ${resource.object} asked for`);
  if (body['deleted'] === true) return { kind: 'deleted', id, observed, receivedAtMs };
  requireMode(body, livemode);
  return { kind: 'found', object: body, observed, receivedAtMs };
}

function readMissing({ status, code }: Refusal, answer: Answer, id: StripeId): RetrieveAnswer | undefined {
  // A 404 without this code means that Stripe does not know the URL.
  return status === 404 && code === 'resource_missing'
    ? { kind: 'not_in_account', id, ...answer }
    : undefined;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isObjectOf = (value: unknown, resource: Resource): value is StripeObject =>
  isRecord(value) && isStripeId(value['id']) && value['object'] === resource.object;

const textIdOf = (entry: unknown): string | undefined =>
  isRecord(entry) && typeof entry['id'] === 'string' ? entry['id'] : undefined;

/** Data of the other mode must neither enter the mirror nor prove anything. */
function requireMode(object: StripeObject, livemode: boolean): void {
  const mode = object['livemode'];
  if (typeof mode !== 'boolean' || mode === livemode) return;
  const [got, expected] = livemode ? ['test', 'live'] : ['live', 'test'];
  throw new Fault(
    'wrong_mode',
    `Stripe returned ${loggedId(object.id)} of ${got} mode to a ${expected}-mode key`,
  );
}

/** https://docs.stripe.com/api/accounts/retrieve; of the account only its id is kept. */
export const readAccount: Call<KeyAccount> = {
  endpoint: accountEndpoint,
  send: (stripe, options) => stripe.accounts.retrieveCurrent({}, options),
  read: ({ body }) => {
    const id = isRecord(body) ? body['id'] : undefined;
    if (typeof id !== 'string' || !/^acct_[A-Za-z0-9]+$/.test(id)) throw new InvalidAnswer('no account id');
    return { kind: 'account', id };
  },
  // Restricted keys usually get 403. Servers that imitate Stripe may not know the endpoint.
  readRefusal: ({ status, type }) =>
    status === 404 || (status === 403 && type === 'StripePermissionError') ? { kind: 'unknown' } : undefined,
};
