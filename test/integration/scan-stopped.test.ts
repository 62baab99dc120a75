// Scans that are stopped: what was listed is written, and nothing once the lease is lost.
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { Fault, type FaultCode } from '../../src/base/errors.js';
import { freshDatabase } from '../support/database.js';
import { quickRunner, requestsLab } from '../support/requests.js';
import { openScanBench, type ScanBench } from '../support/scan.js';
import { until } from '../support/until.js';

const stopped = (code: FaultCode): Fault => new Fault(code, 'Stopped by the test', { kind: 'retryable' });

const storedCount = ({ db }: ScanBench): Promise<number> =>
  db.collection('stripe_customers').countDocuments();

/** A mirror that writes nothing before it is opened, and a source that tells what was asked and answered. */
function heldUp(bench: ScanBench) {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  const asked = new Set<string>();
  const answered = new Set<string>();
  const seen = { rows: 0 };
  const mirror: ScanBench['mirror'] = {
    ...bench.mirror,
    write: async (writes) => {
      await opened;
      return bench.mirror.write(writes);
    },
  };
  const source: ScanBench['source'] = {
    ...bench.source,
    list: async (query, options) => {
      const isCatchUp = (query.gte ?? 0) > bench.simulator.clock.seconds() - 3_600;
      const page = isCatchUp ? 'catch-up' : (query.startingAfter ?? `below ${query.lt}`);
      asked.add(page);
      const answer = await bench.source.list(query, options);
      answered.add(page);
      if (answer.kind === 'page') seen.rows += answer.objects.length;
      return answer;
    },
  };
  return { mirror, source, open, asked, answered, seen };
}

describe('a scan that is stopped while its buffer is full', () => {
  const openBench = () =>
    openScanBench(freshDatabase(), { seed: { count: 5_000, distribution: 'growth' }, latency: { ms: 3 } });

  test.each(['shutdown', 'cancelled'] as const)(
    '(%s) writes all that it has listed, so that no page comes again but one of each window',
    async (code) => {
      const bench = await openBench();
      const stop = new AbortController();
      const first = heldUp(bench);
      const scanning = bench
        .scan({ ...first, signal: stop.signal, listsAtOnce: 3 })
        .catch((error: unknown) => error);
      await until(() => first.seen.rows >= 2_000, { what: 'the buffer to be full' });

      stop.abort(stopped(code));
      first.open();

      expect(await scanning).toMatchObject({ code });
      expect(await storedCount(bench)).toBe(first.seen.rows);
      const second = heldUp(bench);
      second.open();
      const report = await bench.scan({ ...second, listsAtOnce: 3 });
      expect(report).toMatchObject({ isResumed: true, result: { created: 5_000, unchanged: 0 } });
      expect([...second.asked].filter((page) => first.answered.has(page))).toEqual([]);
      expect([...second.asked].filter((page) => first.asked.has(page)).length).toBeLessThanOrEqual(3);
      expect(await bench.differences()).toEqual([]);
    },
  );

  test('gives up what it could not write in time', async () => {
    const bench = await openBench();
    const stop = new AbortController();
    const { open, seen, ...ports } = heldUp(bench);
    const scanning = bench
      .scan({ ...ports, signal: stop.signal, settleWithinMs: 0 })
      .catch((error: unknown) => error);
    await until(() => seen.rows >= 2_000, { what: 'the buffer to be full' });

    stop.abort(stopped('shutdown'));
    open();

    expect(await scanning).toMatchObject({ code: 'shutdown' });
    expect(await storedCount(bench)).toBeLessThanOrEqual(1_000); // what the two writers were at
    expect((await bench.scan()).result).toMatchObject({ created: 5_000, unchanged: 0 });
  });

  test('writes nothing more where it has lost its lease: neither customers nor a checkpoint', async () => {
    const bench = await openBench();
    const stop = new AbortController();
    const { open, seen, ...ports } = heldUp(bench);
    let saves = 0;
    const state: ScanBench['state'] = {
      ...bench.state,
      save: (...args) => {
        if (stop.signal.aborted) saves += 1;
        return bench.state.save(...args);
      },
    };
    const scanning = bench.scan({ ...ports, state, signal: stop.signal }).catch((error: unknown) => error);
    await until(() => seen.rows >= 2_000, { what: 'the buffer to be full' });

    stop.abort(stopped('lease_lost'));
    open();

    expect(await scanning).toMatchObject({ code: 'lease_lost' });
    expect(await storedCount(bench)).toBeLessThanOrEqual(1_000); // what the two writers were at
    // What those two settle would be worth a checkpoint, but it is not theirs to write any more.
    expect(saves).toBeLessThanOrEqual(2);
  });
});

test('a scan that is being stopped writes nothing more from the moment on at which its lease is lost', async () => {
  const lab = requestsLab(freshDatabase());
  let told: unknown;
  const runner = quickRunner(async (_command, context) => {
    await once(context.signal, 'abort');
    // As it would before each write of what it has listed.
    await until(
      () => {
        try {
          context.assertHeld();
          return false;
        } catch (error) {
          told = error;
          return true;
        }
      },
      { what: 'the loss to be told' },
    );
    throw told;
  });
  const worker = await lab.worker({ runner });
  const [id] = await lab.insert({ command: 'syncAll' });
  await runner.nth(1);

  const drained = worker.drain({ withinMs: 10_000 });
  await lab.requests.updateOne({ _id: id! }, { $set: { 'lease.owner': 'another', 'lease.fence': 9 } });
  await drained;

  expect(told).toMatchObject({ code: 'lease_lost' });
  expect(await lab.read(id!)).toMatchObject({ status: 'running', lease: { owner: 'another', fence: 9 } });
});
