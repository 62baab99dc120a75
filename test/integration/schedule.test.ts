// Cron: each slot becomes one request over all replicas, on MongoDB's clock, whoever dies, restarts or has a wrong clock.
import type { mongo } from 'mongoose';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { type Schedule, type ScheduleOptions, startSchedule } from '../../src/schedule/schedule.js';
import { atEnd } from '../support/cleanup.js';
import { freshDatabase } from '../support/database.js';
import { quickRunner, requestsLab, type RequestsLab } from '../support/requests.js';
import { until } from '../support/until.js';

const utc = (text: string): Date => new Date(`${text}Z`);

interface Replica extends Schedule {
  outcomes: string[];
}

/** Time stands still until the test moves it; every replica looks when the test says so. */
function bench(schedule = '0 3 * * *', timezone = 'UTC') {
  const database = freshDatabase();
  const lab = requestsLab(database);
  const clock = { now: utc('2026-06-01T12:00:00') };
  const replica = async (options: Partial<ScheduleOptions> = {}): Promise<Replica> => {
    const outcomes: string[] = [];
    const started = startSchedule({
      database: await lab.connect(),
      schedule,
      timezone,
      catchUp: true,
      pollIntervalMs: 60_000,
      logger: lab.logger,
      observer: {
        scheduleStarted: () => undefined,
        writesRefused: () => undefined,
        writesAccepted: () => undefined,
        slotDecided: ({ schedule: name, outcome }) => void outcomes.push(`${name} ${outcome}`),
      },
      now: () => Promise.resolve(clock.now),
      ...options,
    });
    atEnd(() => started.stop());
    await started.look();
    return Object.assign(started, { outcomes });
  };
  const at = async (time: string, ...replicas: Schedule[]): Promise<void> => {
    clock.now = utc(time);
    await Promise.all(replicas.map((each) => each.look()));
  };
  return { database, lab, clock, replica, at, inserted: () => insertedBy(lab) };
}

const insertedBy = (lab: RequestsLab) => lab.requests.find().sort({ _id: 1 }).toArray();
const inHours = (hours: number): Date => new Date(Date.now() + hours * 3_600_000);
/** Lets the scans that were inserted be over. */
const scansEnd = (lab: RequestsLab) => lab.requests.updateMany({}, { $set: { status: 'succeeded' } });

afterEach(() => {
  vi.useRealTimers();
});

describe('a slot', () => {
  test('becomes one request, by whichever of the replicas wins it', async () => {
    const { replica, at, inserted } = bench();
    const replicas = [await replica(), await replica(), await replica()];

    await at('2026-06-02T03:00:00', ...replicas);
    await at('2026-06-02T03:00:05', ...replicas);

    expect(await inserted()).toMatchObject([{ command: 'syncAll', requestedBy: 'cron' }]);
    expect(replicas.flatMap(({ outcomes }) => outcomes).sort()).toEqual([
      'syncAll inserted',
      'syncAll lost',
      'syncAll lost',
    ]);
  });

  test('becomes one request each over several days of two replicas, one of them restarted', async () => {
    const { lab, replica, at, inserted } = bench();
    const first = await replica();
    let second = await replica();

    for (let day = 2; day <= 9; day += 1) {
      await at(`2026-06-0${day}T02:59:59`, first, second);
      if (day === 5) {
        await second.stop();
        second = await replica();
      }
      await at(`2026-06-0${day}T03:00:01`, first, second);
      await scansEnd(lab);
    }

    expect(await inserted()).toHaveLength(8);
  });

  test('is not caught up at a first start, nor when the expression or the time zone has changed', async () => {
    const { lab, replica, at, inserted } = bench();
    const first = await replica();
    await at('2026-06-02T02:00:00', first);
    expect(await inserted()).toHaveLength(0);
    await first.stop();

    await at('2026-06-03T12:00:00');
    const changed = await replica({ schedule: '0 4 * * *' });
    const moved = await replica({ schedule: '0 4 * * *', timezone: 'Asia/Tokyo' });

    expect(await inserted()).toHaveLength(0);
    expect([...changed.outcomes, ...moved.outcomes]).toEqual([]);
    await at('2026-06-03T19:00:00', changed, moved);
    expect(await lab.requests.countDocuments({ command: 'syncAll' })).toBe(1);
  });

  test('that was missed while nothing ran is caught up once, however many were', async () => {
    const { replica, at, inserted, clock } = bench();
    await (await replica()).stop();
    clock.now = utc('2026-06-05T11:00:00');

    const replicas = [await replica(), await replica()];
    await at('2026-06-05T11:00:05', ...replicas);

    expect(await inserted()).toHaveLength(1);
    expect(replicas.flatMap(({ outcomes }) => outcomes)).toEqual(['syncAll caught_up']);
  });

  test('that was missed is left out where catching up is off', async () => {
    const { replica, at, inserted, clock } = bench();
    await (await replica({ catchUp: false })).stop();
    clock.now = utc('2026-06-05T11:00:00');

    const late = await replica({ catchUp: false });
    expect([await inserted(), late.outcomes]).toEqual([[], ['syncAll skipped']]);
    await at('2026-06-06T03:00:00', late);

    expect(await inserted()).toHaveLength(1);
  });

  test.each<[string, object]>([
    ['runs', { status: 'running' }],
    ['waits', {}],
    ['waits for its next attempt', { status: 'pending', attempts: 1, runAt: inHours(1) }],
    [
      'was released for a while',
      { status: 'pending', attempts: 0, history: [{ attempt: 1 }], runAt: inHours(1) },
    ],
    ['is held', { status: 'pending', error: { code: 'read_allowance_used' }, runAt: inHours(20) }],
  ])('that finds the last scan still at work as it %s is skipped, and counted once', async (_name, scan) => {
    const { lab, replica, at, inserted } = bench();
    const replicas = [await replica(), await replica()];
    await lab.insert({ command: 'syncAll', ...scan });

    await at('2026-06-02T03:00:00', ...replicas);

    expect(await inserted()).toHaveLength(1);
    expect(replicas.flatMap(({ outcomes }) => outcomes).sort()).toEqual(['syncAll lost', 'syncAll skipped']);
    await scansEnd(lab);
    await at('2026-06-02T03:00:10', ...replicas);
    expect(await inserted()).toHaveLength(1);
    await at('2026-06-03T03:00:00', ...replicas);
    expect(await inserted()).toHaveLength(2);
  });

  test('is not held up by a scan that writes nothing, was cancelled, or was put off by a user', async () => {
    const { lab, replica, at } = bench();
    const one = await replica();
    await lab.insert(
      { command: 'syncAll', dryRun: true },
      { command: 'syncAll', cancel: true },
      { command: 'syncAll', runAt: new Date('3000-01-01T00:00:00Z') },
      { command: 'syncAll', runAt: inHours(23) },
      { command: 'syncAll', runAt: inHours(23), status: 'pending', attempts: 2, finishedAt: new Date() },
      { command: 'syncByIds', ids: ['cus_1'] },
    );

    await at('2026-06-02T03:00:00', one);

    expect(one.outcomes).toEqual(['syncAll inserted']);
  });

  test('that came while this process could not look is made up for, whatever is to become of those missed before', async () => {
    const { lab, replica, at, inserted } = bench();
    const first = await replica();
    await at('2026-06-02T03:00:00', first);
    await first.stop();
    await scansEnd(lab);
    const one = await replica({ catchUp: false });
    await at('2026-06-03T02:59:59', one);

    await at('2026-06-03T03:05:00', one);

    expect(one.outcomes).toEqual(['syncAll caught_up']);
    expect(await inserted()).toHaveLength(2);
    await one.stop();
    await scansEnd(lab);
    await at('2026-06-04T04:00:00');
    const late = await replica({ catchUp: false });
    expect(late.outcomes).toEqual(['syncAll skipped']);
  });

  test('whose winner died before it inserted is inserted by another, as the very same request', async () => {
    const { database, lab, replica, at, inserted } = bench();
    const doomed = await replica();
    const other = await replica();
    const failpoint = await database.failCommand({ failCommands: ['insert'], errorCode: 121 });
    await at('2026-06-02T03:00:00', doomed);
    const { inserting } = (await lab.state.findOne({ _id: 'schedule:syncAll' })) as {
      inserting?: mongo.ObjectId;
    };
    expect(inserting).toBeDefined();
    expect(await inserted()).toHaveLength(0);
    await doomed.stop();
    await failpoint.off();

    await at('2026-06-02T03:00:05', other);

    expect((await inserted()).map(({ _id }) => _id)).toEqual([inserting]);
    expect(await lab.state.findOne({ _id: 'schedule:syncAll' })).not.toHaveProperty('inserting');
    await lab.requests.deleteMany({});
    await at('2026-06-02T03:00:10', other);
    expect(await inserted()).toHaveLength(0);
  });

  test.each([
    ['update', { writeConcernError: { code: 64, errmsg: 'late' } }],
    ['insert', { writeConcernError: { code: 64, errmsg: 'late' } }],
    ['update', { closeConnection: true }],
  ])('is inserted once though the answer to an %s is lost (%j)', async (command, fault) => {
    const { database, replica, at, inserted } = bench();
    const one = await replica();
    const failpoint = await database.failCommand({ failCommands: [command], times: 2, ...fault });

    await at('2026-06-02T03:00:00', one);

    await failpoint.off();
    expect(await inserted()).toHaveLength(1);
    expect(one.outcomes).toEqual(['syncAll inserted']);
  });

  test.each([3_600_000, -3_600_000])(
    'is decided by the clock of MongoDB, though that of a replica is %i ms off',
    async (offMs) => {
      const { lab, replica, inserted } = bench('* * * * * *');
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + offMs });
      const byMongo = { schedule: '0 * * * *', now: undefined as never };
      const hourNow = (): number => Math.floor((Date.now() - offMs) / 3_600_000) * 3_600_000;
      const before = hourNow();
      const replicas = [await replica(byMongo), await replica(byMongo)];

      for (const each of replicas) await each.look();

      const state = await lab.state.findOne({ _id: 'schedule:syncAll' });
      expect([before, hourNow()]).toContain((state?.['lastSlot'] as Date).getTime());
      expect((await inserted()).length).toBeLessThanOrEqual(before === hourNow() ? 0 : 1);
    },
  );

  test('far in the future, from a wrong clock of MongoDB, is set back', async () => {
    const { lab, replica, at, inserted } = bench();
    const one = await replica();
    await lab.state.updateOne(
      { _id: 'schedule:syncAll' },
      { $set: { lastSlot: utc('2030-01-01T00:00:00') } },
    );

    await at('2026-06-02T03:00:00', one);
    await at('2026-06-03T03:00:00', one);

    expect(await inserted()).toHaveLength(1);
  });
});

describe('clocks that are changed', () => {
  test.each([
    ['Europe/Berlin', '30 2 * * *', '2026-03-27T12:00', 4],
    ['Europe/Berlin', '30 2 * * *', '2026-10-23T12:00', 4],
    ['America/New_York', '30 2 * * *', '2026-03-06T12:00', 4],
    ['America/New_York', '30 1 * * *', '2026-10-30T12:00', 4],
  ])('in %s leave %s one slot a day from %s on', async (timezone, schedule, from, days) => {
    const { lab, clock, replica, inserted } = bench(schedule, timezone);
    clock.now = utc(`${from}:00`);
    const replicas = [await replica(), await replica()];

    for (let minutes = 0; minutes < days * 24 * 60; minutes += 20) {
      clock.now = new Date(clock.now.getTime() + 20 * 60_000);
      await Promise.all(replicas.map((each) => each.look()));
      await scansEnd(lab);
    }

    expect(await inserted()).toHaveLength(days);
  });
});

describe('a rollout', () => {
  test('of another expression lets both versions insert their own slots, and loses none', async () => {
    const { lab, replica, at, inserted } = bench('0 3 * * *');
    const old = await replica();
    const next = await replica({ schedule: '0 4 * * *' });

    for (const time of ['02T02:30', '02T03:00', '02T03:30', '02T04:00', '02T04:30', '03T03:00', '03T04:00']) {
      await at(`2026-06-${time}:00`, old, next);
      await scansEnd(lab);
    }

    expect(await inserted()).toHaveLength(4);
    expect(old.outcomes.filter((outcome) => outcome === 'syncAll inserted')).toHaveLength(2);
    expect(next.outcomes.filter((outcome) => outcome === 'syncAll inserted')).toHaveLength(2);
  });
});

describe('a schedule', () => {
  test('that is empty does nothing', async () => {
    const { lab, replica } = bench('');
    const off = await replica();

    expect(off.next(3)).toEqual([]);
    expect(await lab.state.findOne({ _id: 'schedule:syncAll' })).toBeNull();
  });

  test('tells its next slots', async () => {
    const { replica } = bench('0 3 * * *', 'Europe/Berlin');
    const one = await replica();

    const [first, second] = one.next(2);
    expect(first!.getTime()).toBeGreaterThan(Date.now());
    expect(second!.getTime() - first!.getTime()).toBeGreaterThanOrEqual(23 * 3_600_000);
  });

  test('ticks by itself, and its requests run', async () => {
    const { lab, replica } = bench('* * * * * *');
    const runner = quickRunner();
    await lab.worker({ runner });
    const now = async (): Promise<Date> => (await lab.requests.db.command({ hello: 1 }))['localTime'] as Date;
    const replicas = [await replica({ now }), await replica({ now })];

    await runner.nth(3);
    await Promise.all(replicas.map((each) => each.stop()));

    const outcomes = replicas.flatMap((each) => each.outcomes);
    const done = outcomes.filter((outcome) => outcome === 'syncAll inserted').length;
    await until(async () => (await lab.requests.countDocuments({ status: 'succeeded' })) === done, {
      what: 'all to run',
    });
    expect(runner.runs).toHaveLength(done);
  });

  test('survives MongoDB being away, and says so once', async () => {
    const { database, lab, replica, at, inserted } = bench();
    const one = await replica();
    const failpoint = await database.failCommand({ failCommands: ['find', 'update'], errorCode: 13 });

    await at('2026-06-02T03:00:00', one);
    await at('2026-06-02T03:00:01', one);
    expect(await inserted()).toHaveLength(0);
    await failpoint.off();
    await at('2026-06-02T03:00:02', one);

    expect(await inserted()).toHaveLength(1);
    const about = lab.lines.filter(({ msg }) => msg.startsWith('The schedule'));
    expect(about.map(({ level }) => level)).toEqual(['warn', 'info']);
  });
});
