// A scan that is stopped and gone on with, over and over in one process: it never stands still.
import { expect, test } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import { freshDatabase } from '../support/database.js';
import { openScanBench } from '../support/scan.js';
import { until } from '../support/until.js';

const resumes = Number(process.env['FAULT_RESUMES'] ?? 60);

test(
  'a scan that is stopped and resumed many times in one process goes on each time, and ends with everybody mirrored once',
  { timeout: 120_000 + resumes * 4_000 },
  async () => {
    const bench = await openScanBench(freshDatabase(), {
      seed: { count: 20_000, distribution: 'growth' },
      latency: { ms: 5, jitterMs: 5 },
    });
    let stops = 0;
    let slowestMs = 0;
    for (let isOver = false; !isOver;) {
      const stop = new AbortController();
      const pagesBefore = bench.simulator.requests.length;
      const pages = 1 + (stops % 7);
      const startedMs = performance.now();
      let end: string | undefined;
      const scanning = bench.scan({ signal: stop.signal, requestId: `pass ${Math.floor(stops / 30)}` }).then(
        () => (end = 'complete'),
        (error: unknown) => (end = error instanceof Fault ? error.code : String(error)),
      );

      await until(() => end !== undefined || bench.simulator.requests.length >= pagesBefore + pages, {
        what: `scan ${stops} to list ${pages} pages`,
        timeoutMs: 30_000,
        intervalMs: 2,
      });
      stop.abort(new Fault('shutdown', 'Stopped by the test', { kind: 'retryable' }));
      await until(() => end, { what: `scan ${stops} to stop`, timeoutMs: 30_000, intervalMs: 2 });
      await scanning;

      expect(['shutdown', 'complete']).toContain(end);
      slowestMs = Math.max(slowestMs, performance.now() - startedMs);
      stops += 1;
      isOver = stops >= resumes;
    }
    console.info(`${stops} stops, the slowest took ${Math.round(slowestMs)} ms`);
    await bench.scan({ requestId: 'last' });
    expect(await bench.differences()).toEqual([]);
  },
);
