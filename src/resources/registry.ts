// Every kind of Stripe object that is mirrored. Another kind is one more file in this folder and one more
// line here.
import { customer } from './customer.js';
import type { Resource } from './resource.js';

export const resources = [customer] as const satisfies readonly Resource[];
