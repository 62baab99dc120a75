// How often a scan is tried: its attempts are bounded as long as it gets no further.
import { describe, expect, test } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import { freshDatabase } from '../support/database.js';
import { quickRunner, requestsLab } from '../support/requests.js';
import { openScanBench, type ScanBench } from '../support/scan.js';
import { until } from '../support/until.js';

const list = 'GET /v1/customers';

const storedCount = ({ db }: ScanBench): Promise<number> =>
  db.collection('stripe_customers').countDocuments();

describe('the attempts of a scan', () => {
  const command = { command: 'syncAll' };

  /** A queue whose worker runs real scans, each attempt with a source of its own. */
  async function scansByRequest(bench: ScanBench, database: ReturnType<typeof freshDatabase>) {
    const lab = requestsLab(database);
    const runner = quickRunner(async (_command, context) => {
      let lists = 0;
      let hasMoved = false;
      const source: ScanBench['source'] = {
        ...bench.source,
        list: async (query, options) => {
          if ((lists += 1) <= 3) return bench.source.list(query, options);
          // A fault ends the writers, too: however slow they are, a page is settled before.
          await until(() => hasMoved, { what: 'a settled page' });
          throw new Fault('stripe_unavailable', 'Away', { kind: 'retryable' });
        },
      };
      const report = await bench.scan({
        source,
        signal: context.signal,
        onCheckpoint: () => {
          hasMoved = true;
          context.onCheckpoint();
        },
        requestId: String(context.requestId),
        listsAtOnce: 1,
      });
      return report.result;
    });
    await lab.worker({ runner, settings: { maxAttempts: 2 } });
    return lab;
  }

  test('are bounded where it gets no further', async () => {
    const database = freshDatabase();
    const bench = await openScanBench(database, { seed: { count: 100 } }, { callDeadlineMs: 300 });
    bench.simulator.fault({ kind: 'status', status: 500, endpoint: list, times: Infinity });
    const lab = await scansByRequest(bench, database);

    const [id] = await lab.insert(command);

    expect(await lab.ended(id!)).toMatchObject({
      status: 'failed',
      attempts: 2,
      error: { code: 'attempts_exhausted', cause: { code: 'stripe_unavailable' } },
    });
  });

  test('are bounded where it got somewhere once, and no further since', async () => {
    const database = freshDatabase();
    const bench = await openScanBench(database, { seed: { count: 900 } }, { callDeadlineMs: 300 });
    bench.simulator.fault({ kind: 'status', status: 500, endpoint: list, skip: 2, times: Infinity });
    const lab = await scansByRequest(bench, database);

    const [id] = await lab.insert(command);

    expect(await lab.ended(id!)).toMatchObject({ status: 'failed', error: { code: 'attempts_exhausted' } });
    expect([100, 200]).toContain(await storedCount(bench));
  });

  test('are as many as it takes while it gets further with each', async () => {
    const database = freshDatabase();
    const bench = await openScanBench(database, { seed: { count: 900 } });
    const lab = await scansByRequest(bench, database);

    const [id] = await lab.insert(command);

    const ended = await lab.ended(id!);
    expect(ended).toMatchObject({ status: 'succeeded', result: { created: 900 } });
    expect((ended['history'] as unknown[]).length).toBeGreaterThan(3);
  });
});
