// The command line of main.ts as simulator options.
import { parseArgs } from 'node:util';
import { simulatorOptionsSchema } from './control-schemas.js';
import type { SimulatorOptions } from './types.js';

export const USAGE = `node --import tsx simulator/src/main.ts [options]
  --port <n>                 default: a free one
  --customers <n>            seeds so many
  --distribution <name>      uniform, growth, spike or same-second
  --from, --to <seconds>     first and last created of the seed
  --seed <n>                 the same seed gives the same customers
  --customer-bytes <n>       1600 or 2500, each in a page, about
  --deleted-share <0..1>     --test-clock-share <0..1>
  --rate <n>                 calls a second, all endpoints
  --endpoint-rate <n>        calls a second and endpoint
  --concurrency <n>          calls in flight
  --latency <ms>             --jitter <ms>    --compute-at <arrival|departure|random|0..1>
  --live                     live mode
  --account <acct_...>       the default account's id
  --log <n>                  calls kept in the log; 0 for benches
  --options <json>           all options at once; the others win over it`;

/** Throws with the reason when an argument is unknown or wrong. */
export function parseCommandLine(args: string[]): SimulatorOptions {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args,
    options: {
      port: text,
      customers: text,
      distribution: text,
      from: text,
      to: text,
      seed: text,
      'customer-bytes': text,
      'deleted-share': text,
      'test-clock-share': text,
      rate: text,
      'endpoint-rate': text,
      concurrency: text,
      latency: text,
      jitter: text,
      'compute-at': text,
      live: { type: 'boolean' },
      account: text,
      log: text,
      options: text,
    },
  });
  const base: unknown = JSON.parse(values.options ?? '{}');
  const seed = given({
    count: numeric(values.customers),
    distribution: values.distribution,
    from: numeric(values.from),
    to: numeric(values.to),
    seed: numeric(values.seed),
    customerBytes: numeric(values['customer-bytes']),
    deletedShare: numeric(values['deleted-share']),
    testClockShare: numeric(values['test-clock-share']),
  });
  const latency = given({
    ms: numeric(values.latency) ?? (values.jitter === undefined ? undefined : 0),
    jitterMs: numeric(values.jitter),
    computeAt: numericOrText(values['compute-at']),
  });
  const limits = given({
    globalPerSecond: numeric(values.rate),
    endpointPerSecond: numeric(values['endpoint-rate']),
    globalConcurrency: numeric(values.concurrency),
  });
  const options = given({
    port: numeric(values.port),
    livemode: values.live,
    accountId: values.account,
    logSize: numeric(values.log),
    seed,
    latency,
    limits,
  });
  return simulatorOptionsSchema.parse({ ...(base as object), ...options });
}

/** Without what is undefined; undefined when nothing is left. */
function given(values: Record<string, unknown>): Record<string, unknown> | undefined {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

function numeric(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text);
}

function numericOrText(text: string | undefined): number | string | undefined {
  return text === undefined || text === '' || Number.isNaN(Number(text)) ? text : Number(text);
}
