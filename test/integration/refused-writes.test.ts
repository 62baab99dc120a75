// A write that MongoDB refuses as a whole is a refusal with its name. It is no race, costs Stripe nothing more, and no
// scan counts as complete for it.
import { describe, expect, test } from 'vitest';
import { syncByIds } from '../../src/sync/by-ids.js';
import { confirmDeleted, softDelete } from '../../src/sync/deletion.js';
import { freshDatabase, type FreshDatabase } from '../support/database.js';
import type { FailCommandOptions } from '../support/failpoint.js';
import {
  answered,
  insertedAs,
  mirrorCollection,
  openMirror,
  stripeId,
  takeBatch,
  whole,
} from '../support/mirror.js';
import { quickRunner, requestsLab } from '../support/requests.js';
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

describe('MongoDB refuses', () => {
  test('to write to a view, by that name', async () => {
    const bench = await openScanBench(freshDatabase());
    await bench.db.collection(mirrorCollection).drop();
    await bench.db.createCollection(mirrorCollection, { viewOn: 'sync_state', pipeline: [] });

    await expect(bench.read(whole('cus_1'), 1_000)).rejects.toMatchObject(
      refused('CommandNotSupportedOnView'),
    );
  });

  test('one document by a validator: it fails alone, and the scan is complete without it', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 40 } });
    const [refusedId = ''] = bench.simulator.listIds();
    await bench.db.command({ collMod: mirrorCollection, validator: { _id: { $ne: refusedId } } });

    const { result } = await bench.scan();

    expect(result).toMatchObject({ created: 39, failed: 1 });
    expect(result.items).toContainEqual(expect.objectContaining({ id: refusedId, code: 'write_rejected' }));
    expect(await bench.state.lastComplete()).toMatchObject({ leftOut: [refusedId] });
  });

  test('every document by a validator: the scan says so, and is not complete', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 40 } });
    await bench.db.command({ collMod: mirrorCollection, validator: { never: 'there' } });

    const { result } = await bench.scan();

    expect(result).toMatchObject({ created: 0, failed: 40 });
    expect(new Set(result.items.map(({ code }) => code))).toEqual(new Set(['write_rejected']));
    expect(await bench.state.lastComplete()).toBeUndefined();
    const completed = { _id: 'scan-completed:customer' } as object;
    expect(await bench.db.collection('sync_state').countDocuments(completed)).toBe(0);
  });

  test('a whole command because of one document: that one fails alone', async () => {
    const { mirror, db } = await openMirror(freshDatabase());
    const ids = ['cus_a', 'cus_b', 'cus_c', 'cus_d', 'cus_e'];
    let deep: object = {};
    for (let level = 0; level < 300; level += 1) deep = { deep };
    const entries = ids.map((id) => whole(id, id === 'cus_c' ? { deep } : {}));

    const result = await takeBatch(mirror, entries, insertedAs(1, Date.now()));

    expect(result).toMatchObject({ created: 4, failed: 1 });
    expect(result.items).toContainEqual(
      expect.objectContaining({ id: 'cus_c', outcome: 'failed', code: 'write_rejected' }),
    );
    expect(await db.collection(mirrorCollection).countDocuments()).toBe(4);
  });
});

test('a request that MongoDB refuses to update ends the command that works on it alone', async () => {
  const database = freshDatabase();
  const lab = requestsLab(database);
  const worker = await lab.worker({ runner: quickRunner(), start: false });
  const [id] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1' });
  // No code that tells of rights or disks: it might lie in the request.
  const failpoint = await database.failCommand({ failCommands: ['findAndModify'], errorCode: 96 });

  await expect(worker.runOnce(id!, anySignal)).rejects.toMatchObject({
    code: 'mongodb_rejected',
    message: 'MongoDB refused updating the request: OperationFailed',
  });

  expect(await failpoint.timesEntered()).toBe(1);
});
