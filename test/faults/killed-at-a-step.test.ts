// A replica is killed at a step of its life: the others do what is left, and do it once.
import { beforeAll, expect, test } from 'vitest';
import type { Daemon } from '../support/daemon.js';
import { crashingAt, type Fleet, openFleet } from '../support/fleet.js';
import { type Journal, keepJournal } from '../support/journal.js';
import { expectAllDone, insertMix } from '../support/workload.js';

let fleet: Fleet;
let journal: Journal;
let survivors: Daemon[];

beforeAll(async () => {
  fleet = await openFleet({
    simulated: { seed: { count: 900, distribution: 'growth' }, latency: { ms: 150, jitterMs: 100 } },
  });
  survivors = await Promise.all([fleet.start(), fleet.start()]);
  await fleet.user.run({ command: 'syncAll' });
  journal = await keepJournal(fleet.user.requests);
});

test.each([
  ['after', 'claim'],
  ['after', 'renew'],
  ['before', 'finish'],
  ['after', 'finish'],
  ['after', 'recover'],
  ['after', 'coalesce'],
  ['after', 'scan-right'],
  ['before', 'scan-right-back'],
  ['after', 'scan-begin'],
  ['after', 'checkpoint'],
  ['after', 'candidates'],
  ['before', 'scan-end'],
  ['after', 'scan-end'],
  ['after', 'scan-complete'],
  ['before', 'mirror-write'],
  ['after', 'mirror-write'],
] as const)(
  'a daemon killed %s the step "%s" loses no request, and the others do each exactly once',
  async (when, step) => {
    const killed = await fleet.start(crashingAt(when, step));
    // The one that is to die shall be the one that works.
    await Promise.all(survivors.map((daemon) => daemon.freeze()));
    const ids = await insertMix(fleet, step.length);

    expect(await killed.exit).toEqual({ code: null, signal: 'SIGKILL' });
    const death = { pid: killed.pid, at: new Date() };
    for (const daemon of survivors) daemon.thaw();

    await expectAllDone(fleet, journal, ids, death);
    expect(survivors.flatMap((daemon) => daemon.errors())).toEqual([]);
  },
);
