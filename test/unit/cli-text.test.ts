import { mongo } from 'mongoose';
import { describe, expect, it } from 'vitest';
import { progressText } from '../../src/cli/screen/request-text.js';
import { overallStatus, requestJson, summaryText } from '../../src/cli/screen/summary.js';
import { duration } from '../../src/cli/screen/table.js';
import type { RequestView } from '../../src/requests/view.js';
import type { SyncResult } from '../../src/sync/outcome.js';

const _id = new mongo.ObjectId('6b04f49e7e477548fafae5cd');
const at = (second: number): Date => new Date(Date.UTC(2026, 0, 1, 0, 0, second));

const resultOf = (result: Partial<SyncResult>): SyncResult => ({
  created: 0,
  updated: 0,
  unchanged: 0,
  deleted: 0,
  stale: 0,
  failed: 0,
  items: [],
  ...result,
});

describe('progress', () => {
  const scan: RequestView = { _id, command: 'syncAll' };

  it.each<[string, RequestView, string, number | undefined]>([
    ['waits', scan, 'waiting', undefined],
    ['has just begun', { ...scan, status: 'running' }, 'running', undefined],
    [
      'tries again',
      {
        ...scan,
        status: 'pending',
        attempts: 1,
        history: [
          {
            attempt: 1,
            startedAt: at(0),
            finishedAt: at(1),
            owner: 'a',
            error: { code: 'stripe_unavailable', message: '' },
          },
        ],
      },
      'attempt 1 failed (stripe_unavailable), waiting to retry',
      undefined,
    ],
    [
      'is under way',
      {
        ...scan,
        status: 'running',
        progress: {
          done: 1_200,
          estimated: 5_000,
          ratio: 0.25,
          perSecond: 830.4,
          etaSeconds: 75,
          updatedAt: at(1),
        },
      },
      '1,200 of about 5,000, 830/s, 1 min 15 s left',
      0.25,
    ],
  ])('of a scan that %s', (_, request, text, ratio) => {
    expect(progressText([request], undefined)).toEqual({ text, ratio });
  });

  it('of several requests counts those that have ended', () => {
    const ended: RequestView = {
      _id,
      command: 'syncBatch',
      status: 'succeeded',
      result: resultOf({ updated: 1_000 }),
    };
    const running: RequestView = {
      _id,
      command: 'syncBatch',
      status: 'running',
      progress: { done: 250, estimated: 1_000, perSecond: 500, updatedAt: at(1) },
    };

    expect(progressText([ended, running, { _id, command: 'syncBatch' }], 2_500)).toEqual({
      text: '1 of 3 requests, 1,250 of 2,500, 500/s',
      ratio: 0.5,
    });
  });
});

describe('the summary', () => {
  it('of a scan counts every outcome', () => {
    const result = resultOf({ created: 10, updated: 20, unchanged: 4_965, deleted: 5 });

    const text = summaryText([
      { _id, command: 'syncAll', status: 'succeeded', startedAt: at(0), finishedAt: at(12), result },
    ]);

    expect(text.split('\n')).toEqual([
      'syncAll succeeded in 12 s (request 6b04f49e7e477548fafae5cd)',
      '  created  updated  unchanged  deleted  stale  failed',
      '       10       20      4,965        5      0       0',
    ]);
  });

  it('lists the first twenty that failed and counts the rest, over all requests', () => {
    const failedOf = (prefix: string): RequestView => ({
      _id,
      command: 'syncByIds',
      status: 'failed',
      error: { code: 'not_in_account', message: 'the first of them' },
      result: resultOf({
        failed: 15,
        items: Array.from({ length: 15 }, (_, index) => ({
          id: `${prefix}_${index}`,
          outcome: 'failed',
          code: 'not_in_account',
          message: 'No such customer',
        })),
      }),
    });

    const lines = summaryText([failedOf('cus_a'), failedOf('cus_b')]).split('\n');

    expect(lines[0]).toBe('syncByIds failed (2 requests)');
    expect(lines.slice(3, 5)).toEqual(['  failed:', '    cus_a_0   not_in_account  No such customer']);
    expect(lines).toHaveLength(4 + 20 + 1);
    expect(lines.at(-1)).toBe('    and 10 more; --json lists up to 1,000 of each request');
  });

  it('of a refused request names every fault', () => {
    const error = { code: 'invalid_request', message: 'a; b', faults: ['a', 'b'] } as const;

    expect(
      summaryText([{ _id, command: 'syncByIds', status: 'failed', error }])
        .split('\n')
        .slice(1),
    ).toEqual(['  invalid_request: a', '  invalid_request: b']);
  });

  it('says why the last attempt ended, that removals are held, and that a dry run wrote nothing', () => {
    const text = summaryText([
      {
        _id,
        command: 'syncAll',
        status: 'partial',
        dryRun: true,
        result: resultOf({ removalsHeld: 120 }),
        error: {
          code: 'attempts_exhausted',
          message: 'Given up after 5 attempts',
          cause: { code: 'stripe_unavailable', message: 'Stripe did not answer' },
        },
      },
    ]);

    expect(text).toContain('a dry run: nothing was written');
    expect(text).toContain('120 removals held for approval');
    expect(text).toContain(`stripe-mongo-sync approve-removals ${_id.toHexString()}`);
    expect(text).toContain('attempts_exhausted: Given up after 5 attempts');
    expect(text).toContain('the last attempt ended with stripe_unavailable: Stripe did not answer');
  });

  it('of several requests is that of all, or partial', () => {
    const ended = (status: RequestView['status']): RequestView => ({
      _id,
      command: 'syncBatch',
      ...(status && { status }),
    });

    expect(overallStatus([ended('succeeded'), ended('succeeded')])).toBe('succeeded');
    expect(overallStatus([ended('failed'), ended('failed')])).toBe('failed');
    expect(overallStatus([ended('succeeded'), ended('cancelled')])).toBe('partial');
  });
});

describe('JSON of a request', () => {
  it('is one line with ids in hex and dates in ISO 8601, and has of a batch the ids alone', () => {
    const batch = [{ id: 'cus_1', email: 'jane@example.com' }, 'cus_2'];

    const json = requestJson({ _id, command: 'syncBatch', batch, createdAt: at(1) });

    expect(json).not.toContain('\n');
    expect(JSON.parse(json)).toEqual({
      _id: '6b04f49e7e477548fafae5cd',
      command: 'syncBatch',
      batch: ['cus_1', 'cus_2'],
      createdAt: '2026-01-01T00:00:01.000Z',
    });
  });
});

it.each([
  [0, '0 s'],
  [0.034, '0.03 s'],
  [4.25, '4.3 s'],
  [42.4, '42 s'],
  [59.7, '1 min 0 s'],
  [200, '3 min 20 s'],
  [7_500, '2 h 5 min'],
])('%d seconds read as %s', (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});
