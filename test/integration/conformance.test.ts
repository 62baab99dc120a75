// The implementations of the ports on MongoDB do what the ports say.
import { describe, expect, test } from 'vitest';
import { createScanState } from '../../src/mirror/scan-state.js';
import { stateIds, stateOf } from '../../src/mongo/sync-state.js';
import { dryRunOf } from '../../src/sync/dry-run.js';
import { describeMirror, describeMirrorWrites } from '../conformance/mirror.js';
import { describeScanState } from '../conformance/scan-state.js';
import type { StripeId } from '../../src/sync/ports.js';
import { freshDatabase, ours } from '../support/database.js';
import { openMirror } from '../support/mirror.js';

const dayMs = 86_400_000;

describe('the mirror in MongoDB', () => {
  describeMirror(async () => {
    const { mirror, stored } = await openMirror(freshDatabase());
    const fieldsOf = async (id: string): Promise<object | undefined> => {
      const document = await stored(id);
      if (!document) return undefined;
      const { _id, _sync, app, ...fields } = document;
      return fields;
    };
    return { mirror, fieldsOf };
  });
});

describe('the mirror of a dry run', () => {
  describeMirrorWrites(async () => {
    const { mirror: real } = await openMirror(freshDatabase());
    const mirror = dryRunOf(real, { remembers: true });
    const fieldsOf = async (id: StripeId): Promise<object | undefined> => {
      const fields = (await mirror.storedOf([id])).get(id)?.fields;
      return fields && { ...fields, ...('deleted' in fields && { object: 'customer' }) };
    };
    return { mirror, fieldsOf };
  });
});

describe('the scan state in MongoDB', () => {
  describeScanState(() => {
    const states = stateOf(ours(freshDatabase().db));
    return Promise.resolve({
      state: createScanState(states, 'customer'),
      completed: async () => {
        const found = await states.findOne({ _id: stateIds.scanCompleted('customer') });
        const at = found?.['at'] as Date | undefined;
        return at && { scanId: String(found?.['scan']), daysAgo: (Date.now() - at.getTime()) / dayMs };
      },
      daysPass: async (days) => {
        const earlier = { $subtract: ['$at', Math.round(days * dayMs)] };
        await states.updateMany({ at: { $exists: true } }, [{ $set: { at: earlier } }]);
      },
    });
  });
});

test('what a scan has confirmed as of a time ahead of the clock, which was set back since, counts as unknown', async () => {
  const states = stateOf(ours(freshDatabase().db));
  const state = createScanState(states, 'customer');
  const end = async (from: Date): Promise<void> => {
    await state.begin('run');
    const confirmed = { from, leftOut: [], ofTestClocks: false };
    await state.end('run', { scanId: 'scan', isComplete: true, heldFor: undefined, confirmed });
  };
  const [past, ahead] = [-3_600_000, 3_600_000].map((ms) => new Date(Date.now() + ms)) as [Date, Date];

  await end(ahead);
  expect(await state.lastComplete()).toBeUndefined();

  await end(past);
  expect(await state.lastComplete()).toEqual({ from: past, leftOut: [], ofTestClocks: false });
});
