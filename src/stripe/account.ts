// Which account a key belongs to, as far as it may know.
import type { CallOptions } from '../sync/ports.js';
import { InvalidAnswer, type Call } from './caller.js';

/** `not_permitted`: restricted keys usually may not read the account. */
export type AccountAnswer =
  { readonly kind: 'account'; readonly id: string } | { readonly kind: 'not_permitted' };

/** https://docs.stripe.com/api/accounts/retrieve; of the account only its id is kept. */
const readAccount: Call<AccountAnswer> = {
  endpoint: 'GET /v1/account',
  send: (stripe, options) => stripe.accounts.retrieveCurrent({}, options),
  read: ({ body }) => {
    const id = typeof body === 'object' && body !== null && 'id' in body ? body.id : undefined;
    if (typeof id !== 'string' || !/^acct_[A-Za-z0-9]+$/.test(id))
      throw new InvalidAnswer('no id of an account');
    return { kind: 'account', id };
  },
  readRefusal: ({ status, type }) =>
    status === 403 && type === 'StripePermissionError' ? { kind: 'not_permitted' } : undefined,
};

export const accountReader =
  (call: <T>(call: Call<T>, options: CallOptions) => Promise<T>) =>
  (options: CallOptions): Promise<AccountAnswer> =>
    call(readAccount, options);
