// Parameters of list calls: https://docs.stripe.com/api/pagination, /api/customers/list and /api/events/list.
import type { CreatedRange } from './creation-order.js';
import {
  emptyParameter,
  invalidInteger,
  invalidRequest,
  limitOutOfRange,
  type Refusal,
  unknownParameters,
} from './errors.js';

const DEFAULT_LIMIT = 10;
const MOST_TYPES = 20;
const END_OF_TIME = 0xfffffffe;

export interface ListQuery {
  limit: number;
  startingAfter: string | undefined;
  endingBefore: string | undefined;
  created: CreatedRange;
  /** Resource's own filters that were given, by name. */
  filters: ReadonlyMap<string, string>;
  /** `types[]`, in whichever spelling. */
  types: readonly string[];
}

export interface ListRules {
  /** Names of the resource's own filters, `types` apart. */
  filters: readonly string[];
  takesTypes: boolean;
  clampsLimit: boolean;
}

/** Reads a raw query string (without `?`), or gives Stripe's 400. */
export function parseListQuery(rawQuery: string, rules: ListRules): ListQuery | Refusal {
  const query = {
    limit: DEFAULT_LIMIT,
    startingAfter: undefined as string | undefined,
    endingBefore: undefined as string | undefined,
    created: { from: 0, to: END_OF_TIME },
    filters: new Map<string, string>(),
    types: [] as string[],
  };
  const unknown: string[] = [];
  for (const [name, value] of new URLSearchParams(rawQuery)) {
    const refusal = take(query, name, value, rules, unknown);
    if (refusal !== undefined) return refusal;
  }
  if (unknown.length > 0) return unknownParameters(unknown);
  if (query.types.length > MOST_TYPES) {
    return invalidRequest(
      400,
      `Array types exceeded maximum ${MOST_TYPES} allowed elements.`,
      undefined,
      'types',
    );
  }
  if (query.types.length > 0 && query.filters.has('type')) {
    return invalidRequest(400, 'You may pass either `type` or `types`, but not both.', undefined, 'types');
  }
  return query;
}

type OpenQuery = Omit<ListQuery, 'filters' | 'types'> & { filters: Map<string, string>; types: string[] };

function take(
  query: OpenQuery,
  name: string,
  value: string,
  rules: ListRules,
  unknown: string[],
): Refusal | undefined {
  const isType = rules.takesTypes && /^types\[\d*\]$/.test(name);
  const bound = /^created(?:\[(gt|gte|lt|lte)\])?$/.exec(name);
  if (/^expand\[\d*\]$/.test(name)) return undefined;
  if (isType) query.types.push(value);
  else if (bound !== null) return takeCreated(query.created, name, bound[1], value);
  else if (name === 'limit') return takeLimit(query, value, rules.clampsLimit);
  else if (name === 'starting_after') query.startingAfter = value;
  else if (name === 'ending_before') query.endingBefore = value;
  else if (rules.filters.includes(name)) query.filters.set(name, value);
  else {
    unknown.push(name);
    return undefined;
  }
  return value === '' ? emptyParameter(name) : undefined;
}

function takeLimit(query: OpenQuery, value: string, clamps: boolean): Refusal | undefined {
  if (!/^-?\d+$/.test(value)) return invalidInteger('limit', value);
  const limit = Number(value);
  if ((limit < 1 || limit > 100) && !clamps) return limitOutOfRange(limit);
  query.limit = Math.min(Math.max(limit, 1), 100);
  return undefined;
}

/** Several bounds narrow the range; they never widen it. */
function takeCreated(
  range: CreatedRange,
  name: string,
  bound: string | undefined,
  value: string,
): Refusal | undefined {
  if (!/^-?\d+$/.test(value)) return invalidInteger(name, value);
  const second = Number(value);
  if (bound === undefined || bound === 'gte') range.from = Math.max(range.from, second);
  if (bound === undefined || bound === 'lte') range.to = Math.min(range.to, second);
  if (bound === 'gt') range.from = Math.max(range.from, second + 1);
  if (bound === 'lt') range.to = Math.min(range.to, second - 1);
  return undefined;
}
