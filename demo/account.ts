// The demo on a real account: the same daemon at the default rate, into the demo's own MongoDB.
import type { Checks } from './checks.js';
import { Requests } from './follow.js';
import { document, heading, note, panels, samplesOf } from './show.js';
import { cronIn, secondsToSlot, startDaemon, startMongoDB } from './world.js';

export async function mirrorAccount(
  apiKey: string,
  checks: Checks,
  stay?: (lines: readonly string[]) => Promise<void>,
): Promise<void> {
  heading('A real MongoDB and your Stripe account, which is only read');
  const { uri, db } = await startMongoDB();
  note(`MongoDB    ${uri}`);
  const { daemon, http } = await startDaemon(uri, {
    STRIPE_API_KEY: apiKey,
    SYNC_ALL_SCHEDULE: cronIn(secondsToSlot),
  });
  note(`daemon     pid ${daemon.pid}, ${http}/metrics`);

  heading('Full sync by cron');
  const requests = new Requests(db);
  const request = await requests.end(await requests.ofCron());
  document({ status: request.status, result: request.result });
  checks.equal('the scan succeeded', request.status, 'succeeded');

  heading('What a dashboard would draw');
  panels(samplesOf(await (await fetch(`${http}/metrics`)).text()));
  await stay?.([
    `mongosh "${uri}"   # db.stripe_customers.findOne()`,
    'Ctrl-C ends all of it, MongoDB included.',
  ]);
  const { code } = await daemon.stop();
  checks.equal('the daemon stopped on SIGTERM with exit code 0', code, 0);
}
