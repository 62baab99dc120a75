// Every kind of Stripe object that is mirrored. Another one costs a file beside this and a line here.
import { customer } from './customer.js';
import type { Resource } from './resource.js';

export const resources = [customer] as const satisfies readonly Resource[];
