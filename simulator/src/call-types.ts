// The vocabulary of calls: what tests may order for them (latency, limits, faults, holds) and observe. Types only.
/** Endpoints as Stripe counts them for its limits: one name per API operation, whatever the id. */
export type EndpointName =
  | 'GET /v1/customers'
  | 'GET /v1/customers/{id}'
  | 'GET /v1/events'
  | 'GET /v1/events/{id}'
  | 'GET /v1/account'
  | 'GET /v1/test_helpers/test_clocks'
  | 'write'
  | 'other';

export interface Latency {
  /** Mean time between arrival and answer, milliseconds. */
  ms: number;
  /** Uniform spread around `ms`, never below 0. Default 0. */
  jitterMs?: number;
  /**
   * When within the latency the answer is computed from the data: `arrival` (0), `departure` (1, the default),
   * a fraction between, or `random`, anew for each call.
   */
  computeAt?: 'arrival' | 'departure' | 'random' | number;
}

/** Values of `Stripe-Rate-Limited-Reason` (https://docs.stripe.com/rate-limits). */
export type RateLimitReason =
  'global-rate' | 'endpoint-rate' | 'global-concurrency' | 'endpoint-concurrency' | 'resource-specific';

/** Limits of one account and mode; live and test are counted apart. An absent number is no limit. */
export interface Limits {
  /** Calls in any sliding second, all endpoints. */
  globalPerSecond?: number;
  /** Calls in any sliding second per endpoint: one number for every endpoint, or one for each named. */
  endpointPerSecond?: number | Partial<Record<EndpointName, number>>;
  /** Calls in flight, all endpoints. */
  globalConcurrency?: number;
  /** Calls in flight per endpoint. */
  endpointConcurrency?: number | Partial<Record<EndpointName, number>>;
  /** Sends `Retry-After` with a refusal. Stripe documents none, so none by default. */
  retryAfterSeconds?: number;
}

/** What faults, holds and predicates see of a call. */
export interface CallInfo {
  readonly method: string;
  /** As it came over the wire, query included, nothing decoded or normalised. */
  readonly url: string;
  readonly endpoint: EndpointName;
}

/** Which calls a fault or hold applies to. All given conditions must hold. */
export interface CallMatch {
  /** Prefix of the raw URL, expression on it, or predicate. A predicate cannot go to another process. */
  path?: string | RegExp | ((call: CallInfo) => boolean);
  endpoint?: EndpointName;
  method?: string;
}

export interface Answer {
  status: number;
  headers?: Record<string, string>;
  /** An object is sent as JSON, a string as it is. */
  body: string | object | null;
}

/** For a `custom` fault: `compute` gives the answer the simulator would have sent. */
type CustomAnswer = (call: CallInfo, compute: () => Answer) => Answer | Promise<Answer>;

export type IgnorableParameter = 'created' | 'limit' | 'starting_after';

export type FaultKind =
  /** An answer with this status; without a body, the error body Stripe sends for it. */
  | { kind: 'status'; status: number; body?: string | object; headers?: Record<string, string> }
  /** 429 `rate_limit` with its reason. */
  | { kind: 'rateLimit'; reason: RateLimitReason; retryAfterSeconds?: number }
  /** 429 `lock_timeout`, without a reason header and with `Stripe-Should-Retry: true`. */
  | { kind: 'lockTimeout' }
  /** The socket is destroyed before any header. */
  | { kind: 'reset' }
  /** Accepted, never answered. */
  | { kind: 'stall' }
  /** Headers and this share of the body (default half), then nothing more. */
  | { kind: 'stallBody'; share?: number }
  /** `bytes` of the body (default 1) every `everyMs`. */
  | { kind: 'drip'; everyMs: number; bytes?: number }
  /** contentLength: less than announced, then destroyed. chunked: a clean end in the middle of the JSON. */
  | { kind: 'truncate'; how?: 'contentLength' | 'chunked' }
  /** A proxy's HTML page, 502 by default. */
  | { kind: 'html'; status?: number }
  /** 200 with the body `null`. */
  | { kind: 'null' }
  /** 200, a list without entries that says `has_more: true`. */
  | { kind: 'emptyPage' }
  /** The page that ends with `starting_after` once more. Without a cursor the call is answered as usual. */
  | { kind: 'duplicatePage' }
  /** Answered as by an emulator that does not know these parameters; without `limit`, up to 1,000 rows come at once. */
  | { kind: 'ignoreParameters'; names: IgnorableParameter[] }
  /** Every `livemode` of the answer turned round. */
  | { kind: 'wrongLivemode' }
  | { kind: 'custom'; answer: CustomAnswer };

export type FaultOrder = CallMatch &
  FaultKind & {
    /** How many calls it hits. Default 1; Infinity for all. */
    times?: number;
    /** How many matching calls pass first. Default 0. */
    skip?: number;
  };

export interface FaultHandle {
  /** Calls hit so far. */
  readonly hits: number;
  remove: () => void;
}

export interface HoldOrder extends CallMatch {
  /** Held before the answer is read from the data, or after and before it is sent. */
  when: 'before-compute' | 'after-compute';
  /** How many matching calls pass first. Default 0. */
  skip?: number;
}

/** Holds exactly one call. */
export interface Hold {
  /** Resolves when the call has come to the point where it is held. */
  readonly arrived: Promise<void>;
  /** Lets it go; before `arrived`, the call will not be held at all. */
  release: () => void;
}

/** One call as the log keeps it. Times are milliseconds of the real clock, fractions included. */
export interface RecordedCall {
  method: string;
  url: string;
  endpoint: EndpointName;
  /** Last four characters of the key; undefined without one. */
  keySuffix: string | undefined;
  requestId: string;
  /** Undefined while in flight, and for a call that got no status (reset, stall). */
  status: number | undefined;
  arrivedAt: number;
  answeredAt: number | undefined;
  fault: FaultKind['kind'] | undefined;
}

export interface Stats {
  /** Calls that arrived, by endpoint. */
  calls: Partial<Record<EndpointName, number>>;
  /** Answers sent, by endpoint and status. */
  answers: Partial<Record<EndpointName, Record<string, number>>>;
  /** 429 by reason, faults included; lock timeouts under `lock_timeout`. */
  refused: Partial<Record<RateLimitReason | 'lock_timeout', number>>;
  inFlight: number;
  maxInFlight: number;
  /** POST, PUT, PATCH and DELETE calls. Must stay 0 for a product that only reads. */
  writes: number;
  /** The most calls that arrived in any sliding second. */
  callsPerSecond: number;
}
