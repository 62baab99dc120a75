// Every kind of Stripe object that is mirrored. Another kind is one more file in this folder and one more
// line here.
import { customer } from './customer.js';
import type { Resource } from './resource.js';

export const resources = [customer] as const satisfies readonly Resource[];

/** The default kind of a request. The ids of its objects also prove that a key belongs to the mirror. */
export const mainResource: Resource = customer;

/** Names of all kinds, as in the field `object` of Stripe's objects and of a request. */
export const objectNames: readonly string[] = resources.map(({ object }) => object);
