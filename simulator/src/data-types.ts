// The vocabulary of the simulated data: customers, how they are seeded and changed, accounts and keys. Types only.
/** A customer as the API returns it. Fields Stripe may add later are allowed. */
export interface CustomerObject {
  id: string;
  object: 'customer';
  created: number;
  livemode: boolean;
  email: string | null;
  metadata: Record<string, string>;
  test_clock: string | null;
  [field: string]: unknown;
}

/** What Stripe answers for a customer that was deleted. */
export interface DeletedCustomerObject {
  id: string;
  object: 'customer';
  deleted: true;
}

/** https://docs.stripe.com/api/test_clocks/object */
export interface TestClockObject {
  id: string;
  object: 'test_helpers.test_clock';
  created: number;
  deletes_after: number;
  frozen_time: number;
  livemode: false;
  name: null;
  status: 'ready';
  status_details: object;
}

/** Fields for `create` and `update`; whatever is absent keeps the default or its value. */
export type CustomerFields = Partial<CustomerObject>;

export interface MutationOptions {
  /** Records a `customer.*` event. Default true. */
  event?: boolean;
}

export type Distribution = 'uniform' | 'growth' | 'spike' | 'same-second';

/** About how many bytes a customer of a seed takes in a page. */
export type CustomerBytes = 1600 | 2500;

export interface SeedOptions {
  /** 0 to 4,000,000 customers. */
  count: number;
  /** growth: denser towards `to`; spike: 60 % in one hour; same-second: 20 % in one second. Default uniform. */
  distribution?: Distribution;
  /** First `created`, Unix seconds. Default three years before the simulator's clock. */
  from?: number;
  /** Last `created`, Unix seconds. Default one second before the simulator's clock. */
  to?: number;
  /** The same seed gives the same customers, whatever the account. Default 1. */
  seed?: number;
  /** Share (0 to 1) that is deleted from the start: not listed, retrieved as deleted. Default 0. */
  deletedShare?: number;
  /** Share (0 to 1) that belongs to a test clock: retrieved, but not listed. Default 0. */
  testClockShare?: number;
  /** About how long each is in a page, by more or fewer keys of metadata. Default 1,600 bytes. */
  customerBytes?: CustomerBytes;
  /** Records a `customer.created` event for each. Default false. */
  events?: boolean;
}

export interface SeedResult {
  /** All that were added: live, deleted and on test clocks. */
  count: number;
  deleted: number;
  testClocks: number;
}

/** The data of one account in one mode, with the mutations a test may make. Nothing here goes through HTTP. */
export interface SimulatedMode {
  readonly livemode: boolean;
  /** Customers that a complete listing returns: neither deleted nor on a test clock. */
  readonly listedCount: number;
  /** Adds a customer; `id` and `created` are taken from the fields when given. Throws when the id exists. */
  create(fields?: CustomerFields, options?: MutationOptions): CustomerObject;
  /**
   * Adds an object exactly as given. A string is served byte for byte and must be JSON with an `id`.
   * For poison: 16 MB, lone surrogates as `\ud800`, keys such as `__proto__`, unknown or missing fields.
   */
  createRaw(json: string | object, options?: MutationOptions): string;
  /** Replaces top-level fields; `metadata` merges by key and `''` removes a key, as at Stripe. */
  update(id: string, fields: CustomerFields, options?: MutationOptions): CustomerObject;
  /** Deletes; from then on `{ id, object, deleted: true }`. Throws when it does not exist or is deleted. */
  delete(id: string, options?: MutationOptions): void;
  /** What a retrieve would answer now; undefined when Stripe would answer 404. */
  get(id: string): CustomerObject | DeletedCustomerObject | undefined;
  /** What a complete listing would return now, newest first. */
  list(): CustomerObject[];
  /** Ids of a complete listing, newest first. */
  listIds(): string[];
  seed(options: SeedOptions): SeedResult;
  /** Changes n listed customers chosen by the simulator's random numbers; their ids. */
  updateRandom(n: number, options?: MutationOptions): string[];
  /** Deletes n listed customers chosen by the simulator's random numbers; their ids. */
  deleteRandom(n: number, options?: MutationOptions): string[];
  /** Makes a test clock without customers; one that `create` or `seed` names needs none made. */
  createTestClock(id: string): TestClockObject;
  /** Deletes a test clock and its customers. Throws when it does not exist. */
  deleteTestClock(id: string): void;
  /** Removes all customers, clocks and events of this mode. */
  clear(): void;
}

export interface SimulatedAccount {
  readonly id: string;
  readonly test: SimulatedMode;
  readonly live: SimulatedMode;
  readonly keys: AccountKeys;
}

/** The keys every account has from the start. */
export interface AccountKeys {
  secretTest: string;
  secretLive: string;
  restrictedTest: string;
  restrictedLive: string;
}

/** What a restricted key may do, named as Stripe names it in its 403. */
export type Permission =
  'rak_customer_read' | 'rak_event_read' | 'rak_accounts_kyc_basic_read' | 'rak_billing_clock_read';

export interface KeyOptions {
  /** For `rk_` keys only. Default: customers and events may be read. */
  permissions?: readonly Permission[];
}
