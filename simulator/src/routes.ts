// What each endpoint answers, read from the data at the moment of the call. Synchronous: an answer is one moment.
import { accountObject } from './account-object.js';
import type { Caller } from './auth.js';
import type { CreationOrder, Walk } from './creation-order.js';
import {
  bothCursors,
  missingPermission,
  noSuch,
  type Refusal,
  testModeOnly,
  unknownParameters,
  unrecognizedUrl,
  writeRefused,
} from './errors.js';
import { EventStore } from './events.js';
import { indented, JsonWriter, stripeJson } from './json-writer.js';
import { type ListQuery, parseListQuery } from './list-query.js';
import type { Mode } from './mode.js';
import type { EndpointName, IgnorableParameter, Permission } from './types.js';

/** A call as the routes see it; `id` still percent-encoded. */
export interface Route {
  endpoint: EndpointName;
  path: string;
  rawQuery: string;
  rawId: string;
}

export interface RouteRules {
  clampsLimit: boolean;
  deletedCursor: 'reject' | 'position';
  nowSeconds: () => number;
  /** Answers lists with the page that ends at `starting_after` instead of the one after it. */
  repeatsPage: boolean;
  /** Parameters of lists that are read as if they were absent. */
  ignores: readonly IgnorableParameter[];
}

/** The JSON of a 200, or an error. */
export type Outcome = { json: string | Buffer } | Refusal;

const writer = new JsonWriter();

/** Names the endpoint of a raw URL. Nothing is normalised: `..` stays a part of the path. */
export function routeOf(method: string, url: string): Route {
  const queryAt = url.indexOf('?');
  const path = queryAt < 0 ? url : url.slice(0, queryAt);
  const rawQuery = queryAt < 0 ? '' : url.slice(queryAt + 1);
  const [, collection, rawId = ''] = /^\/v1\/(customers|events)\/([^/]+)$/.exec(path) ?? [];
  const endpoint = ((): EndpointName => {
    if (method !== 'GET' && method !== 'HEAD') return path.startsWith('/v1/') ? 'write' : 'other';
    if (path === '/v1/customers') return 'GET /v1/customers';
    if (path === '/v1/events') return 'GET /v1/events';
    if (path === '/v1/account') return 'GET /v1/account';
    if (path === '/v1/test_helpers/test_clocks') return 'GET /v1/test_helpers/test_clocks';
    if (collection === 'customers') return 'GET /v1/customers/{id}';
    return collection === 'events' ? 'GET /v1/events/{id}' : 'other';
  })();
  return { endpoint, path, rawQuery, rawId };
}

export function answerRoute(method: string, route: Route, caller: Caller, rules: RouteRules): Outcome {
  const refusal = checkPermission(method, route, caller);
  if (refusal !== undefined) return refusal;
  switch (route.endpoint) {
    case 'GET /v1/customers':
      return listCustomers(route.rawQuery, caller, rules);
    case 'GET /v1/customers/{id}':
      return retrieveCustomer(route, caller);
    case 'GET /v1/events':
      return listEvents(route.rawQuery, caller.mode, rules);
    case 'GET /v1/events/{id}':
      return retrieveEvent(route, caller.mode, rules);
    case 'GET /v1/account':
      return { json: stripeJson(accountObject(caller.account.id)) };
    case 'GET /v1/test_helpers/test_clocks':
      return listTestClocks(route.rawQuery, caller, rules);
    case 'write':
      return writeRefused(method, route.path);
    case 'other':
      return unrecognizedUrl(method, route.path);
  }
}

const NEEDS: Partial<Record<EndpointName, Permission>> = {
  'GET /v1/customers': 'rak_customer_read',
  'GET /v1/customers/{id}': 'rak_customer_read',
  'GET /v1/events': 'rak_event_read',
  'GET /v1/events/{id}': 'rak_event_read',
  'GET /v1/account': 'rak_accounts_kyc_basic_read',
  'GET /v1/test_helpers/test_clocks': 'rak_billing_clock_read',
};

function checkPermission(method: string, route: Route, caller: Caller): Refusal | undefined {
  if (!caller.isRestricted) return undefined;
  if (route.endpoint === 'write') {
    const noun = /^\/v1\/([a-z_]+?)s?(?:\/|$)/.exec(route.path)?.[1] ?? 'unknown';
    return missingPermission(caller.key, caller.account.id, `rak_${noun}_write`);
  }
  const needed = NEEDS[route.endpoint];
  if (needed === undefined || caller.permissions.includes(needed)) return undefined;
  return missingPermission(caller.key, caller.account.id, needed);
}

function listCustomers(rawQuery: string, caller: Caller, rules: RouteRules): Outcome {
  const { clampsLimit } = rules;
  const query = parseListQuery(without(rawQuery, rules.ignores), {
    filters: ['email', 'test_clock'],
    takesTypes: false,
    clampsLimit,
  });
  if ('error' in query) return query;
  if (rules.ignores.includes('limit')) query.limit = 1_000;
  const { customers } = caller.mode;
  const cursor = resolveCursor(query, (id, param) => {
    const record = customers.find(id);
    if (record !== undefined && (rules.deletedCursor === 'position' || !customers.isDeleted(record))) {
      return record;
    }
    return noSuch('customer', id, param, record === undefined ? otherModeHas(id, caller) : undefined);
  });
  if (typeof cursor === 'object') return cursor;
  const email = query.filters.get('email');
  const testClock = query.filters.get('test_clock');
  if (testClock !== undefined && !customers.testClocks().some(({ id }) => id === testClock)) {
    return noSuch('test clock', testClock, 'test_clock');
  }
  const page = walk(customers.order, query, cursor, rules, (record) => {
    const isShown =
      testClock === undefined ? customers.isListed(record) : customers.testClockOf(record) === testClock;
    return isShown && (email === undefined || customers.emailOf(record) === email);
  });
  return { json: renderList(page, '/v1/customers', (record) => customers.write(writer, record, 'listed')) };
}

/** https://docs.stripe.com/api/test_clocks/list: the newest first; there are none in live mode. */
function listTestClocks(rawQuery: string, caller: Caller, rules: RouteRules): Outcome {
  const { mode } = caller;
  if (mode.livemode) return testModeOnly();
  const query = parseListQuery(rawQuery, { filters: [], takesTypes: false, clampsLimit: rules.clampsLimit });
  if ('error' in query) return query;
  const clocks = mode.customers.testClocks();
  for (const [id, param] of [
    [query.startingAfter, 'starting_after'],
    [query.endingBefore, 'ending_before'],
  ] as const) {
    if (id !== undefined && !clocks.some((clock) => clock.id === id)) return noSuch('test clock', id, param);
  }
  const at = (id: string | undefined, fallback: number): number =>
    id === undefined ? fallback : clocks.findIndex((clock) => clock.id === id);
  const [after, before] = [at(query.startingAfter, -1), at(query.endingBefore, clocks.length)];
  const first = query.endingBefore === undefined ? after + 1 : Math.max(0, before - query.limit);
  const page = clocks.slice(first, Math.min(before, first + query.limit));
  const hasMore = query.endingBefore === undefined ? first + page.length < clocks.length : first > 0;
  return {
    json: stripeJson({ object: 'list', data: page, has_more: hasMore, url: '/v1/test_helpers/test_clocks' }),
  };
}

function without(rawQuery: string, names: readonly IgnorableParameter[]): string {
  if (names.length === 0) return rawQuery;
  const kept = [...new URLSearchParams(rawQuery)].filter(
    ([name]) => !names.some((each) => name.startsWith(each)),
  );
  return new URLSearchParams(kept).toString();
}

function listEvents(rawQuery: string, mode: Mode, rules: RouteRules): Outcome {
  const { clampsLimit } = rules;
  const filters = ['type', 'delivery_success'];
  const query = parseListQuery(rawQuery, { filters, takesTypes: true, clampsLimit });
  if ('error' in query) return query;
  const { events } = mode;
  const oldest = EventStore.oldest(rules.nowSeconds());
  const cursor = resolveCursor(query, (id, param) => events.find(id) ?? noSuch('event', id, param));
  if (typeof cursor === 'object') return cursor;
  const type = query.filters.get('type');
  const wanted = type === undefined ? query.types : [type];
  const kept = { ...query, created: { ...query.created, from: Math.max(query.created.from, oldest) } };
  const page = walk(events.order, kept, cursor, rules, (record) => {
    return wanted.length === 0 || wanted.some((pattern) => matchesType(events.typeOf(record), pattern));
  });
  return {
    json: renderList(page, '/v1/events', (record) => writer.text(indented(events.json(record), 'listed'))),
  };
}

function retrieveCustomer(route: Route, caller: Caller): Outcome {
  const unknown = onlyExpand(route.rawQuery);
  if (unknown !== undefined) return unknown;
  const id = decodeId(route.rawId);
  const { customers } = caller.mode;
  const record = customers.find(id);
  if (record === undefined) return noSuch('customer', id, 'id', otherModeHas(id, caller));
  return { json: customers.json(record) };
}

function retrieveEvent(route: Route, mode: Mode, rules: RouteRules): Outcome {
  const unknown = onlyExpand(route.rawQuery);
  if (unknown !== undefined) return unknown;
  const id = decodeId(route.rawId);
  const record = mode.events.find(id);
  const isKept =
    record !== undefined && mode.events.order.createdOf(record) >= EventStore.oldest(rules.nowSeconds());
  return isKept ? { json: mode.events.json(record) } : noSuch('event', id, 'id');
}

/** The record of whichever cursor was given. An unknown one is refused before the pair is. */
function resolveCursor(query: ListQuery, find: (id: string, param: string) => number | Refusal) {
  let cursor: number | undefined;
  for (const [id, param] of [
    [query.startingAfter, 'starting_after'],
    [query.endingBefore, 'ending_before'],
  ] as const) {
    if (id === undefined) continue;
    const found = find(id, param);
    if (typeof found !== 'number') return found;
    if (cursor !== undefined) return bothCursors();
    cursor = found;
  }
  return cursor;
}

function walk(
  order: CreationOrder,
  query: ListQuery,
  cursor: number | undefined,
  rules: RouteRules,
  matches: (record: number) => boolean,
): Walk {
  const isRepeat = rules.repeatsPage && query.startingAfter !== undefined;
  const page = order.walk({
    range: query.created,
    ...(cursor === undefined ? {} : { cursor }),
    towards: query.endingBefore === undefined && !isRepeat ? 'older' : 'newer',
    inclusive: isRepeat,
    limit: query.limit,
    matches,
  });
  return isRepeat ? { ...page, hasMore: true } : page;
}

function renderList(page: Walk, url: string, write: (record: number) => void): Buffer {
  writer.text('{\n  "object": "list",\n  "data": [');
  page.records.forEach((record, i) => {
    writer.text(i > 0 ? ',\n    ' : '\n    ');
    write(record);
  });
  writer.text(page.records.length > 0 ? '\n  ]' : ']');
  writer.text(`,\n  "has_more": ${page.hasMore},\n  "url": "${url}"\n}`);
  return writer.take();
}

/** `customer.*` and `*` stand for groups, as documented for `type`. */
function matchesType(type: string, pattern: string): boolean {
  return pattern.endsWith('*') ? type.startsWith(pattern.slice(0, -1)) : type === pattern;
}

function otherModeHas(id: string, caller: Caller): 'live' | 'test' | undefined {
  const other = caller.mode.livemode ? caller.account.test : caller.account.live;
  if (other.customers.find(id) === undefined) return undefined;
  return other.livemode ? 'live' : 'test';
}

function onlyExpand(rawQuery: string): Refusal | undefined {
  const unknown = [...new URLSearchParams(rawQuery).keys()].filter((name) => !/^expand\[\d*\]$/.test(name));
  return unknown.length === 0 ? undefined : unknownParameters(unknown);
}

function decodeId(rawId: string): string {
  try {
    return decodeURIComponent(rawId);
  } catch {
    return rawId;
  }
}
