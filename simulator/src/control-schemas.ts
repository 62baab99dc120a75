// What may come over the control API and the command line, checked at the border.
import { z } from 'zod';
import type { CustomerFields } from './types.js';

const count = z.int().nonnegative();
const endpoint = z.enum([
  'GET /v1/customers',
  'GET /v1/customers/{id}',
  'GET /v1/events',
  'GET /v1/events/{id}',
  'GET /v1/account',
  'GET /v1/test_helpers/test_clocks',
  'write',
  'other',
]);
const perEndpoint = z.union([z.number().nonnegative(), z.partialRecord(endpoint, z.number().nonnegative())]);
const reason = z.enum([
  'global-rate',
  'endpoint-rate',
  'global-concurrency',
  'endpoint-concurrency',
  'resource-specific',
]);

// Not rebuilt by zod: keys such as __proto__ must arrive as they were sent.
export const fieldsSchema = z.custom<CustomerFields>((value) => typeof value === 'object' && value !== null);

export const mutationSchema = z.strictObject({ event: z.boolean().exactOptional() });

export const seedSchema = z.strictObject({
  count,
  distribution: z.enum(['uniform', 'growth', 'spike', 'same-second']).exactOptional(),
  from: count.exactOptional(),
  to: count.exactOptional(),
  seed: count.exactOptional(),
  deletedShare: z.number().min(0).max(1).exactOptional(),
  testClockShare: z.number().min(0).max(1).exactOptional(),
  customerBytes: z.union([z.literal(1600), z.literal(2500)]).exactOptional(),
  events: z.boolean().exactOptional(),
});

export const latencySchema = z.strictObject({
  ms: z.number().nonnegative(),
  jitterMs: z.number().nonnegative().exactOptional(),
  computeAt: z.union([z.enum(['arrival', 'departure', 'random']), z.number().min(0).max(1)]).exactOptional(),
});

export const limitsSchema = z.strictObject({
  globalPerSecond: z.number().nonnegative().exactOptional(),
  endpointPerSecond: perEndpoint.exactOptional(),
  globalConcurrency: z.number().nonnegative().exactOptional(),
  endpointConcurrency: perEndpoint.exactOptional(),
  retryAfterSeconds: z.number().nonnegative().exactOptional(),
});

export const keyOptionsSchema = z.strictObject({
  accountId: z.string().exactOptional(),
  permissions: z
    .array(
      z.enum([
        'rak_customer_read',
        'rak_event_read',
        'rak_accounts_kyc_basic_read',
        'rak_billing_clock_read',
      ]),
    )
    .readonly()
    .exactOptional(),
});

export const targetSchema = z.strictObject({
  accountId: z.string().exactOptional(),
  livemode: z.boolean().exactOptional(),
});

const faultKind = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('status'),
    status: z.int().min(200).max(599),
    body: z.union([z.string(), z.custom<object>((value) => typeof value === 'object')]).exactOptional(),
    headers: z.record(z.string(), z.string()).exactOptional(),
  }),
  z.object({ kind: z.literal('rateLimit'), reason, retryAfterSeconds: z.number().exactOptional() }),
  z.object({ kind: z.literal('lockTimeout') }),
  z.object({ kind: z.literal('reset') }),
  z.object({ kind: z.literal('stall') }),
  z.object({ kind: z.literal('stallBody'), share: z.number().min(0).max(1).exactOptional() }),
  z.object({
    kind: z.literal('drip'),
    everyMs: z.number().positive(),
    bytes: z.int().min(1).exactOptional(),
  }),
  z.object({ kind: z.literal('truncate'), how: z.enum(['contentLength', 'chunked']).exactOptional() }),
  z.object({ kind: z.literal('html'), status: z.int().min(400).max(599).exactOptional() }),
  z.object({ kind: z.literal('null') }),
  z.object({ kind: z.literal('emptyPage') }),
  z.object({ kind: z.literal('duplicatePage') }),
  z.object({
    kind: z.literal('ignoreParameters'),
    names: z.array(z.enum(['created', 'limit', 'starting_after'])),
  }),
  z.object({ kind: z.literal('wrongLivemode') }),
]);

/** Expressions and infinity have no JSON, hence `pattern` and `always`. */
export const faultSchema = z.strictObject({
  fault: faultKind,
  prefix: z.string().exactOptional(),
  pattern: z.strictObject({ source: z.string(), flags: z.string() }).exactOptional(),
  endpoint: endpoint.exactOptional(),
  method: z.string().exactOptional(),
  times: z.union([count, z.literal('always')]).exactOptional(),
  skip: count.exactOptional(),
});

export const simulatorOptionsSchema = z.strictObject({
  port: z.int().min(0).max(65_535).exactOptional(),
  livemode: z.boolean().exactOptional(),
  accountId: z.string().startsWith('acct_').exactOptional(),
  seed: seedSchema.exactOptional(),
  latency: latencySchema.exactOptional(),
  limits: limitsSchema.exactOptional(),
  clockOffsetMs: z.number().exactOptional(),
  logSize: count.exactOptional(),
  randomSeed: count.exactOptional(),
  apiVersion: z.string().exactOptional(),
  limitOutOfRange: z.enum(['reject', 'clamp']).exactOptional(),
  deletedCursor: z.enum(['reject', 'position']).exactOptional(),
});
