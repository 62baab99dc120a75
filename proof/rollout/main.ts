// `npm run proof:rollout -- --against REV`: replicas of another revision and of this checkout work on one database, in both orders, while
// customers change at Stripe and clients insert scans, reads, batches, parts and marks. Exit code 1 if anything was lost.
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { build, buildRevision } from '../../bench/build.js';
import { type Server, startServer } from '../../bench/scan-place.js';
import { releaseTo } from '../../test/support/cleanup.js';
import { databaseAt, type Fleet, openFleet } from '../../test/support/fleet.js';
import { type Builds, orders, type Order } from './orders.js';
import { Clients } from './clients.js';
import { faultsOf } from './judge.js';

const { values } = parseArgs({ options: { against: { type: 'string' }, rounds: { type: 'string' } } });
const options = z
  .object({
    /** A revision of this repository. */
    against: z.string().min(1),
    /** Of work, in each phase of an order. */
    rounds: z.coerce.number().int().min(1).max(1_000).default(6),
  })
  .parse(values);

const customers = 300;

/** What was wrong after one order of versions, in words. */
async function tryOrder({ phases }: Order, builds: Builds, server: Server): Promise<readonly string[]> {
  const { uri } = await server.database();
  const database = databaseAt(uri);
  const fleet: Fleet = await openFleet({ simulated: { seed: { count: customers } }, database });
  const clients = new Clients(fleet);
  const faults: string[] = [];
  for (const versions of phases) {
    const phase = versions.join(' and ');
    const daemons = [];
    for (const version of versions) daemons.push(await fleet.start({}, builds[version]));
    await clients.work({ rounds: options.rounds, isOrdered: versions.every((each) => each === 'new') });
    faults.push(...(await faultsOf(fleet, clients)).map((fault) => `${phase}: ${fault}`));
    for (const daemon of daemons) {
      const { code } = await daemon.stop();
      if (code !== 0) faults.push(`${phase}: a daemon ended with ${String(code)}`);
      faults.push(...daemon.errors().map(({ msg }) => `${phase}: a daemon logged "${msg}"`));
    }
  }
  return faults;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

let failed = 0;
try {
  const builds: Builds = {
    old: (await buildRevision(options.against)).daemon,
    new: (await build()).daemon,
  };
  const server = await startServer();
  for (const order of orders) {
    const faults = await tryOrder(order, builds, server);
    if (faults.length > 0) failed += 1;
    console.log(`${faults.length === 0 ? 'ok    ' : 'FAILED'} ${order.name}`);
    for (const fault of faults.slice(0, 20)) console.log(`       ${fault}`);
  }
  console.log(`${orders.length - failed} passed, ${failed} failed`);
} catch (error) {
  console.error(error instanceof Error ? (error.stack ?? error.message) : String(error));
  failed += 1;
} finally {
  await releaseTo();
}
process.exitCode = failed === 0 ? 0 : 1;
