// What a kind of Stripe object is to this service: its name, its collection, and the SDK's own methods that read it.
// A declaration holds no logic: limits, retries and checks of the answers are src/stripe's.
import type Stripe from 'stripe';
import type { StripeId } from '../sync/ports.js';

/** Method and path of an operation as Stripe's reference names it; a label of metrics and a scope of the rate limiter. */
export type Endpoint = `GET /v1/${string}`;

/** Parameters of a list call (https://docs.stripe.com/api/pagination). */
export interface ListParams {
  /** 1 to 100. */
  limit: number;
  starting_after?: string;
  /** Unix seconds. */
  created?: { gte?: number; lt?: number };
}

/** Options for the SDK's methods, to be passed on as they are. */
export interface SendOptions {
  readonly headers: NonNullable<Stripe.RequestOptions['headers']>;
}

export interface Resource {
  /** Stripe's name of it, as in the field `object`. */
  readonly object: string;
  /** Collection of its mirror in MongoDB. */
  readonly collection: string;
  /** Stripe's list, newest first. What the method returns is not used: the answer is taken as it came over the wire. */
  readonly list: {
    readonly endpoint: Endpoint;
    readonly send: (stripe: Stripe, params: ListParams, options: SendOptions) => Promise<unknown>;
  };
  readonly retrieve: {
    readonly endpoint: Endpoint;
    readonly send: (stripe: Stripe, id: StripeId, options: SendOptions) => Promise<unknown>;
  };
}
