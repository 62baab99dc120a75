// schedule.catchUp, as the daemon takes it from its settings.
import { expect, test } from 'vitest';
import { startSimulator } from 'stripe-simulator';
import { atEnd } from '../support/cleanup.js';
import { startDaemon } from '../support/daemon.js';
import { freshDatabase } from '../support/database.js';
import { until } from '../support/until.js';

const sixHoursMs = 6 * 3_600_000;

/** A daemon whose daily slot came six hours ago, while nothing ran. */
async function daemonAfterMissedSlot(settings: Record<string, string>) {
  const database = freshDatabase();
  const simulator = await startSimulator();
  atEnd(() => simulator.close());
  const missed = new Date(Date.now() - sixHoursMs);
  const expression = `${missed.getUTCMinutes()} ${missed.getUTCHours()} * * *`;
  await database.db.collection<{ _id: string }>('sync_state').insertOne({
    _id: 'schedule:syncAll',
    ...{ expression, timezone: 'UTC', lastSlot: new Date(missed.getTime() - 86_400_000) },
  });
  const daemon = startDaemon(database, simulator, { SYNC_ALL_SCHEDULE: expression, ...settings });
  await daemon.ready();
  const outcome = await until(
    () => daemon.logs().find(({ msg }) => msg === 'Slot of the schedule decided')?.['outcome'],
    { what: 'the slot to be decided' },
  );
  const scans = (): Promise<number> =>
    database.db.collection('sync_requests').countDocuments({ command: 'syncAll', requestedBy: 'cron' });
  // Told before it is inserted.
  if (outcome === 'caught_up') await until(scans, { what: 'the request' });
  await daemon.stop();
  return { outcome, scans: await scans() };
}

test('a slot missed while nothing ran is made up for by default', async () => {
  expect(await daemonAfterMissedSlot({})).toEqual({ outcome: 'caught_up', scans: 1 });
});

test('SCHEDULE_CATCH_UP=false leaves a missed slot out, and says so', async () => {
  expect(await daemonAfterMissedSlot({ SCHEDULE_CATCH_UP: 'false' })).toEqual({
    outcome: 'skipped',
    scans: 0,
  });
});
