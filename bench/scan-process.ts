// What bench/scan.ts measures: one full sync with the services of the daemon, and nothing else in the process.
import { StripeCustomerAction } from '../src/index.js';

const action = await StripeCustomerAction.connect();
try {
  let pages = 0;
  const started = performance.now();
  const result = await action.syncAll({ onEnd: (report) => (pages = report.pages) });
  const seconds = (performance.now() - started) / 1_000;
  const { created, updated, unchanged, deleted, stale, failed } = result;
  const customers = created + updated + unchanged + stale + failed;
  const line = {
    customers,
    seconds: Number(seconds.toFixed(3)),
    customersPerSecond: Math.round(customers / seconds),
    pages,
    peakRssMiB: Math.round(process.resourceUsage().maxRSS / 1_024),
    writes: created + updated + deleted,
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
} finally {
  await action.close();
}
