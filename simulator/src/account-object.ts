// The account of a secret key, as `GET /v1/account` returns it: https://docs.stripe.com/api/accounts/object
/** A standard account in good order. It carries no `livemode`, as Stripe's does not. */
export function accountObject(id: string): object {
  return {
    id,
    object: 'account',
    business_profile: {
      annual_revenue: null,
      estimated_worker_count: null,
      mcc: '5734',
      name: 'Simulated Shop',
      product_description: null,
      support_address: null,
      support_email: null,
      support_phone: null,
      support_url: null,
      url: 'https://shop.example.com',
    },
    business_type: 'company',
    capabilities: { card_payments: 'active', transfers: 'active' },
    charges_enabled: true,
    controller: { type: 'account' },
    country: 'DE',
    created: 1_577_836_800,
    default_currency: 'eur',
    details_submitted: true,
    email: null,
    external_accounts: {
      object: 'list',
      data: [],
      has_more: false,
      total_count: 0,
      url: `/v1/accounts/${id}/external_accounts`,
    },
    metadata: {},
    payouts_enabled: true,
    settings: { dashboard: { display_name: 'Simulated Shop', timezone: 'Etc/UTC' } },
    tos_acceptance: { date: null, ip: null, user_agent: null },
    type: 'standard',
  };
}
