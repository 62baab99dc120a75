// The implementations of the ports in memory do what the ports say: those that tests use without MongoDB, and what a dry run has.
import { describe } from 'vitest';
import { volatileScanState } from '../../src/sync/dry-run.js';
import { describeMirror } from '../conformance/mirror.js';
import { describeCandidates, describeScanState } from '../conformance/scan-state.js';
import { MemoryMirror } from '../support/memory-mirror.js';
import { MemoryScanState } from '../support/memory-scan-state.js';

describe('the mirror in memory', () => {
  describeMirror(() => {
    const mirror = new MemoryMirror();
    return Promise.resolve({ mirror, fieldsOf: (id) => Promise.resolve(mirror.fieldsOf(id)) });
  });
});

describe('the scan state in memory', () => {
  describeScanState(() => {
    const state = new MemoryScanState();
    return Promise.resolve({
      state,
      completed: () => Promise.resolve(state.completed()),
      daysPass: async (days) => state.daysPass(days),
    });
  });
});

describe('the scan state of a dry run: the candidates for removal', () => {
  describeCandidates(() => Promise.resolve(volatileScanState()));
});
