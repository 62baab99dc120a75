// Scans that are gone on with after a stop, a fault or a kill: what the result tells in the end, and which checkpoints count.
import { describe, expect, test } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import type { ItemResult, SyncResult } from '../../src/sync/outcome.js';
import type { StripeId } from '../../src/sync/ports.js';
import { freshDatabase } from '../support/database.js';
import { Life, openScanBench, type ScanBench } from '../support/scan.js';

const retrieve = 'GET /v1/customers/{id}';
const stopped = (): Fault => new Fault('shutdown', 'Stopped by the test', { kind: 'retryable' });

describe('the result of a scan', () => {
  const removals = { maxRatio: 1, maxCount: 10_000 };

  /** An account of which much has changed since it was mirrored, and a list that leaves out fifteen who are there. */
  async function changedAccount(): Promise<{ bench: ScanBench; source: ScanBench['source'] }> {
    const bench = await openScanBench(freshDatabase(), {
      seed: { count: 900, distribution: 'growth', seed: 7 },
    });
    await bench.scan({ requestId: 'before' });
    await bench.read({ id: 'cus_elsewhere', object: 'customer', created: 1_700_000_000, livemode: false }, 0);
    const ids = bench.simulator.listIds();
    for (const id of ids.filter((_, index) => index % 30 === 1)) bench.simulator.update(id, { name: 'new' });
    for (const id of ids.filter((_, index) => index % 20 === 2)) bench.simulator.delete(id);
    for (let index = 0; index < 10; index += 1)
      bench.simulator.create({ created: bench.simulator.clock.seconds() - 3_600 * (index + 1) });
    const hidden = new Set<string>(ids.filter((_, index) => index % 60 === 3));
    const source: ScanBench['source'] = {
      ...bench.source,
      list: async (query, options) => {
        const answer = await bench.source.list(query, options);
        if (answer.kind === 'cursor_gone') return answer;
        return { ...answer, objects: answer.objects.filter(({ id }) => !hidden.has(id)) };
      },
    };
    return { bench, source };
  }

  const told = ({ items, ...counts }: SyncResult): unknown => ({
    ...counts,
    items: [...items].map(({ id, ...item }: ItemResult) => [id, item]).sort(),
  });

  /** The same source, that stops the scan at the call of this number. */
  const stoppingAt = (source: ScanBench['source'], call: number, stop: AbortController) => {
    let calls = 0;
    const count = (): void => {
      if ((calls += 1) === call) stop.abort(stopped());
    };
    const counting: ScanBench['source'] = {
      ...source,
      list: (...args) => {
        count();
        return source.list(...args);
      },
      retrieve: (...args) => {
        count();
        return source.retrieve(...args);
      },
    };
    return counting;
  };

  test('that was stopped over and over is the one that it would have had', async () => {
    const whole = await changedAccount();
    const { result: expected } = await whole.bench.scan({ source: whole.source, removals });
    const { bench, source } = await changedAccount();
    let result: SyncResult | undefined;
    let stops = 0;

    for (; !result; stops += 1) {
      const stop = new AbortController();
      const stopping = stoppingAt(source, 9, stop);
      const scanning = bench.scan({ source: stopping, signal: stop.signal, removals, listsAtOnce: 3 });
      result = await scanning.then(
        (report) => report.result,
        (error: unknown) => {
          expect(error).toMatchObject({ code: 'shutdown' });
          return undefined;
        },
      );
    }

    expect(stops).toBeGreaterThan(6);
    expect(expected).toMatchObject({ deleted: 45, updated: 30, created: 10, failed: 0 });
    expect(told(result)).toEqual(told(expected));
  });

  test('whose removals failed on the way is the one that it would have had, and nobody is asked for again', async () => {
    const whole = await changedAccount();
    const { result: expected } = await whole.bench.scan({ source: whole.source, removals });
    const { bench, source } = await changedAccount();
    const fault = bench.simulator.fault({ kind: 'status', status: 400, endpoint: retrieve, skip: 25 });
    await expect(bench.scan({ source, removals })).rejects.toMatchObject({ code: 'stripe_rejected' });
    fault.remove();

    const { result } = await bench.scan({ source, removals });

    expect(told(result)).toEqual(told(expected));
    // 45 who are gone, 15 who are there, one of another account; the one that was refused, and three that were on their way then.
    expect(bench.simulator.stats.calls[retrieve]).toBeLessThanOrEqual(45 + 15 + 1 + 1 + 3);
  });

  test('of a scan that was killed differs in what was counted in its last second alone; no customer is written twice', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 2_500, distribution: 'growth' } });
    const written: StripeId[] = [];
    for (const dieAfter of [400, 900]) {
      const life = new Life();
      let rows = 0;
      const mirror: ScanBench['mirror'] = {
        ...bench.mirror,
        write: async (writes) => {
          const results = await bench.mirror.write(writes);
          written.push(...writes.map(({ id }) => id));
          if ((rows += writes.length) >= dieAfter) life.end();
          return results;
        },
      };
      const ports = { source: bench.source, mirror, state: bench.state };
      await expect(
        bench.scan({
          source: life.portOf(ports.source),
          mirror: life.portOf(ports.mirror),
          state: life.portOf(ports.state),
        }),
      ).rejects.toThrow('killed');
    }

    const { result, isResumed } = await bench.scan();

    expect(isResumed).toBe(true);
    expect(result.created + result.unchanged).toBe(2_500);
    expect(new Set(written).size).toBe(written.length);
    expect(await bench.differences()).toEqual([]);
  });
});

describe('a checkpoint is not gone on with', () => {
  const day = 24 * 3_600_000;
  test.each([
    ['older than 24 hours', { startedAtMs: Date.now() - day - 60_000 }],
    ['of another API version', { apiVersion: '2020-08-27' }],
    ['of the other mode', { livemode: true }],
    ['of another version of this service', { version: 1 }],
    ['no checkpoint at all', { windows: 'many' }],
  ])('that is %s', async (_, change) => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 600 } });
    const stop = new AbortController();
    const mirror: ScanBench['mirror'] = {
      ...bench.mirror,
      write: (writes) => {
        stop.abort(stopped());
        return bench.mirror.write(writes);
      },
    };
    await expect(bench.scan({ mirror, signal: stop.signal, listsAtOnce: 1 })).rejects.toThrow('Stopped');
    const states = bench.db.collection<{ _id: string }>('sync_state');
    const changes = Object.entries(change).map(([field, value]) => [`checkpoint.${field}`, value] as const);
    await states.updateOne({ _id: 'scan:customer' }, { $set: Object.fromEntries(changes) });

    const report = await bench.scan();

    expect(report.isResumed).toBe(false);
    expect(report.result.created + report.result.unchanged).toBe(600);
    expect(report.result.unchanged).toBeGreaterThan(0);
  });
});
