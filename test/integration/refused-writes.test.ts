// A write that MongoDB refuses as a whole is a refusal with its name. It is no race, costs Stripe nothing more, and no
// scan counts as complete for it.
import { describe, expect, test } from 'vitest';
import { syncByIds } from '../../src/sync/by-ids.js';
import { confirmDeleted, softDelete } from '../../src/sync/deletion.js';
import { freshDatabase, type FreshDatabase } from '../support/database.js';
import type { FailCommandOptions } from '../support/failpoint.js';
import { answered, insertedAs, mirrorCollection, stripeId, takeBatch, whole } from '../support/mirror.js';
import { openScanBench, type ScanBench } from '../support/scan.js';

/** Codes by which a server refuses a whole command, by the names that people are told. */
const refusals = [
  [13, 'Unauthorized'],
  [20, 'IllegalOperation'],
  // This failpoint cannot say 121 itself, for which the server wants to know the rule.
  [121, 'Location40671'],
  [166, 'CommandNotSupportedOnView'],
  [371, 'UserWritesBlocked'],
  [8_000, 'AtlasError'],
  [14_031, 'OutOfDiskSpace'],
] as const;

const refused = (name: string) => ({
  code: 'mongodb_rejected',
  message: `MongoDB refused writing the mirror: ${name}`,
});

const callsTo = ({ simulator }: ScanBench, endpoint: string): number =>
  simulator.requests.filter((call) => call.endpoint === endpoint).length;
const retrieve = 'GET /v1/customers/{id}';
const list = 'GET /v1/customers';

const inMirror = ({ name }: FreshDatabase, failCommands: readonly string[], errorCode: number) =>
  ({
    failCommands: [...failCommands],
    namespace: `${name}.${mirrorCollection}`,
    errorCode,
  }) satisfies FailCommandOptions;

const anySignal = new AbortController().signal;

describe.each(refusals)('MongoDB refuses with code %i', (code, name) => {
  test(`a first scan ends at once with ${name}, and nothing counts as complete`, async () => {
    const database = freshDatabase();
    const bench = await openScanBench(database, { seed: { count: 3_000 } });
    const failpoint = await database.failCommand(inMirror(database, ['insert'], code));

    await expect(bench.scan({ listsAtOnce: 2 })).rejects.toMatchObject(refused(name));

    // One each of the writers.
    expect(await failpoint.timesEntered()).toBeLessThanOrEqual(2);
    expect(await bench.state.lastComplete()).toBeUndefined();
    expect(callsTo(bench, list)).toBeLessThan(30);
    expect(callsTo(bench, retrieve)).toBe(0);
    await failpoint.off();
    await bench.scan({ requestId: 'later' });
    expect(await bench.differences()).toEqual([]);
  });

  test(`changed and deleted customers cost one read each, and end with ${name}`, async () => {
    const database = freshDatabase();
    const bench = await openScanBench(database, { seed: { count: 40 } });
    await bench.scan();
    const before = await bench.state.lastComplete();
    const [changed = '', gone = ''] = bench.simulator.listIds();
    bench.simulator.update(changed, { name: 'changed' });
    bench.simulator.delete(gone);
    const stored = await bench.stored(changed);
    const failpoint = await database.failCommand(inMirror(database, ['update'], code));
    const byId = (id: string) =>
      syncByIds(bench.source, bench.mirror, [stripeId(id)], { signal: anySignal, concurrency: 1 });

    await expect(byId(changed)).rejects.toMatchObject(refused(name));
    await expect(byId(gone)).rejects.toMatchObject(refused(name));
    expect(callsTo(bench, retrieve)).toBe(2);
    await expect(bench.scan({ requestId: 'second' })).rejects.toMatchObject(refused(name));
    await expect(softDelete(bench.mirror, stripeId(gone))).rejects.toMatchObject(refused(name));
    const deleted = confirmDeleted(bench.mirror, stripeId(gone), answered(2_000, 2_010).observed);
    await expect(deleted).rejects.toMatchObject(refused(name));
    for (const entry of [whole(changed, { name: 'batch' }), { id: changed, name: 'part' }]) {
      const told = insertedAs(1, Date.now());
      await expect(takeBatch(bench.mirror, [entry], told)).rejects.toMatchObject(refused(name));
    }

    expect(callsTo(bench, retrieve)).toBe(2);
    expect(await bench.state.lastComplete()).toEqual(before);
    await failpoint.off();
    expect(await bench.stored(changed)).toEqual(stored);
    await bench.scan({ requestId: 'third' });
    expect(await bench.differences()).toEqual([]);
  });
});
