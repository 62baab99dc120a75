// Removals that are held for approval: seen from outside, kept, and gone on with.
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import mongoose from 'mongoose';
import { resources } from '../../src/resources/registry.js';
import { readDatabaseStats } from '../../src/store/database-stats.js';
import { StripeCustomerAction } from '../../src/stripe-customer-action.js';
import { startSimulator } from '../simulator/index.js';
import { atEnd } from '../support/cleanup.js';
import { freshDatabase } from '../support/database.js';
import { openScanBench, type ScanBench } from '../support/scan.js';

const heldOf = async ({ db }: ScanBench): Promise<number | undefined> =>
  (await readDatabaseStats(db, resources)).removalsHeld['customer'];

/** A mirror of 400, of whom so many are then deleted at Stripe. */
async function mirrorThatLost(count: number): Promise<{ bench: ScanBench; gone: string[] }> {
  const bench = await openScanBench(freshDatabase(), { seed: { count: 400 } });
  await bench.scan({ requestId: 'first' });
  const gone = bench.simulator.listIds().slice(0, count);
  for (const id of gone) bench.simulator.delete(id);
  return { bench, gone };
}

async function keptIds(bench: ScanBench): Promise<string[]> {
  const held = await bench.state.held();
  const ids: string[] = [];
  if (held) for await (const chunk of bench.state.candidates(held.scanId)) ids.push(...chunk);
  return ids.sort();
}

describe('removals that are held', () => {
  test('are counted for the metric, with their ids kept, until they are approved', async () => {
    const { bench, gone } = await mirrorThatLost(150);
    expect(await heldOf(bench)).toBe(0);

    const { result } = await bench.scan({ requestId: 'second' });

    expect(result.removalsHeld).toBe(150);
    expect(await heldOf(bench)).toBe(150);
    expect(await keptIds(bench)).toEqual([...gone].sort());
    expect((await bench.approve('second')).deleted).toBe(150);
    expect(await heldOf(bench)).toBe(0);
  });

  test('are superseded by a later complete scan, and replaced by what a later one holds', async () => {
    const { bench } = await mirrorThatLost(150);
    await bench.scan({ requestId: 'second' });
    for (const id of bench.simulator.listIds().slice(0, 10)) bench.simulator.delete(id);

    await bench.scan({ requestId: 'third' });

    expect(await heldOf(bench)).toBe(160);
    await expect(bench.approve('second')).rejects.toMatchObject({ code: 'not_found', kind: 'terminal' });
    const { result } = await bench.scan({ requestId: 'fourth', removals: { maxRatio: 1, maxCount: 1_000 } });
    expect(result.deleted).toBe(160);
    expect(await heldOf(bench)).toBe(0);
    await expect(bench.approve('third')).rejects.toMatchObject({ code: 'not_found', kind: 'terminal' });
  });

  test('stay held while a later scan could not finish', async () => {
    const { bench, gone } = await mirrorThatLost(150);
    await bench.scan({ requestId: 'second' });
    const stop = new AbortController();
    const source: ScanBench['source'] = {
      ...bench.source,
      list: (query, options) => {
        stop.abort(new Error('cut off'));
        return bench.source.list(query, options);
      },
    };

    await expect(bench.scan({ requestId: 'third', source, signal: stop.signal })).rejects.toThrow('cut off');

    expect(await heldOf(bench)).toBe(150);
    expect(await keptIds(bench)).toEqual([...gone].sort());
  });

  test('are proven one by one on approval too: who is there after all stays, and nothing is asked twice', async () => {
    const { bench, gone } = await mirrorThatLost(150);
    // The list leaves out more than was deleted.
    const hidden = new Set(bench.simulator.listIds().slice(0, 20));
    const source: ScanBench['source'] = {
      ...bench.source,
      list: async (query, options) => {
        const answer = await bench.source.list(query, options);
        if (answer.kind === 'cursor_gone') return answer;
        return { ...answer, objects: answer.objects.filter(({ id }) => !hidden.has(id)) };
      },
    };
    const { result } = await bench.scan({ requestId: 'second', source });
    expect(result.removalsHeld).toBe(170);
    bench.simulator.fault({ kind: 'status', status: 400, endpoint: 'GET /v1/customers/{id}', skip: 60 });

    await expect(bench.approve('second')).rejects.toMatchObject({ kind: 'terminal' });
    expect(await heldOf(bench)).toBe(170);
    const asked = bench.simulator.stats.calls['GET /v1/customers/{id}'] ?? 0;
    const deletedBefore = 400 - (await bench.mirroredIds()).length;
    await bench.approve('second');

    expect(await bench.mirroredIds()).toHaveLength(250);
    for (const id of gone) expect(await bench.stored(id)).toMatchObject({ _sync: { deletedBy: 'stripe' } });
    expect(deletedBefore).toBeGreaterThan(0);
    expect((bench.simulator.stats.calls['GET /v1/customers/{id}'] ?? 0) - asked).toBe(170 - deletedBefore);
  });
});

/** The face on a database of its own, and what it logs. */
async function actionOf(simulator: { url: string; restrictedKey: string }) {
  const database = freshDatabase();
  const connection = mongoose.createConnection();
  const lines: string[] = [];
  const action = await StripeCustomerAction.connect({
    connection,
    config: {
      stripe: {
        apiKey: simulator.restrictedKey,
        apiBase: simulator.url,
        callsPerSecond: 0,
        callsPerSecondPerEndpoint: 0,
      },
      mongodb: { uri: database.uri },
    },
    logger: pino({ level: 'info' }, { write: (line: string) => void lines.push(line) }),
  });
  atEnd(() => action.close());
  const said = (word: string): unknown[] =>
    lines.filter((line) => line.includes(word)).map((line) => JSON.parse(line) as unknown);
  return { action, said };
}

test('removals that are held are told in the log, by the name under which they can be approved', async () => {
  const simulator = await startSimulator({ seed: { count: 400 } });
  atEnd(() => simulator.close());
  const { action, said } = await actionOf(simulator);
  await action.syncAll();
  for (const id of simulator.listIds().slice(0, 120)) simulator.delete(id);

  await action.syncAll({ dryRun: true });
  expect(said('held')).toEqual([]);
  await action.syncAll();

  const [line] = said('held') as { heldFor: string }[];
  expect(line).toMatchObject({ level: 40, removalsHeld: 120 });
  expect((await action.approveRemovals(line!.heldFor)).deleted).toBe(120);
});

test('syncByIds says so when a full scan would take fewer calls', async () => {
  const simulator = await startSimulator({ seed: { count: 350 } });
  atEnd(() => simulator.close());
  const { action, said } = await actionOf(simulator);
  const ids = simulator.listIds();
  // Nothing is known of the account before its first scan.
  await action.syncByIds(ids.slice(0, 4));
  await action.syncAll();

  await action.syncByIds([...ids.slice(0, 4), ...ids.slice(0, 4)]);
  expect(said('full scan')).toEqual([]);
  await action.syncByIds(ids.slice(0, 5));

  expect(said('full scan')).toMatchObject([{ level: 30, calls: 5, scanCalls: 4 }]);
});
