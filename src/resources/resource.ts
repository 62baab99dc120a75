// How this service sees a kind of Stripe object: its name, its collection, and the SDK's methods that read
// it. A declaration holds no logic: src/stripe limits, retries and checks the calls.
import type Stripe from 'stripe';
import type { CollectionNames } from '../mongo/sync-state.js';
import type { StripeId } from '../sync/ports.js';

/** Method and path as in Stripe's API reference; a label of metrics and a scope of the rate limiter. */
type Endpoint = `GET /v1/${string}`;

/** Parameters of a list call (https://docs.stripe.com/api/pagination). */
export interface ListParams {
  /** 1 to 100. */
  limit: number;
  starting_after?: string;
  /** Unix seconds. */
  created?: { gte?: number; lt?: number };
  /** Only with `testClocks`: the objects of this clock. */
  test_clock?: string;
}

/** Options of the SDK for one call; a declaration passes them on unchanged. */
export interface SendOptions {
  readonly headers: NonNullable<Stripe.RequestOptions['headers']>;
}

export interface Resource {
  /** Stripe's name, as in the field `object`. */
  readonly object: string;
  /** The collection that mirrors it in MongoDB. */
  readonly collection: (names: CollectionNames) => string;
  /**
   * How documents are told that were in the collection before us. Without it, none of them is taken for an
   * object of Stripe.
   */
  readonly adoptable?: {
    /** How Stripe's ids begin; without signs that mean something in a pattern. */
    readonly idPrefix: string;
    /** Every field that Stripe sends; others are the application's. */
    readonly fields: Readonly<Record<string, true>>;
  };
  /**
   * Stripe's list, newest first. The return value is not used: the response is read as it came over the wire.
   */
  readonly list: {
    readonly endpoint: Endpoint;
    readonly send: (stripe: Stripe, params: ListParams, options: SendOptions) => Promise<unknown>;
  };
  readonly retrieve: {
    readonly endpoint: Endpoint;
    readonly send: (stripe: Stripe, id: StripeId, options: SendOptions) => Promise<unknown>;
  };
  /**
   * Lists the account's test clocks, newest first. Present where objects may belong to a test clock: the list
   * leaves these out unless `test_clock` names their clock.
   */
  readonly testClocks?: {
    readonly endpoint: Endpoint;
    readonly send: (
      stripe: Stripe,
      params: Pick<ListParams, 'limit' | 'starting_after'>,
      options: SendOptions,
    ) => Promise<unknown>;
  };
}
