// What is said of a request that is not there.
import { Fault } from '../errors.js';

export const missingRequest = (id: string, { database }: { readonly database: string }): Fault =>
  new Fault(
    'not_found',
    `There is no request ${id} in the database "${database}"; those that have ended are removed after some time`,
    { kind: 'terminal' },
  );
