// Suites: `unit` needs no MongoDB, `mongodb` shares one replica set, `faults` does harm and runs by itself, `faults-alone` after it, for what it
// measures needs the processors, `prometheus` needs a Prometheus on the PATH, `image` needs an engine and is run by .ci/image.
import { defineConfig } from 'vitest/config';

const withoutMongo = ['test/{unit,contract}/**/*.test.ts', 'simulator/test/**/*.test.ts'];
const harmful = ['test/faults/**/*.test.ts'];
/** Whether all of a rate is used can be told only of processes that get to run. */
const alone = ['test/faults/rate.test.ts'];
const ofImage = ['test/image/**/*.test.ts'];
const ofPrometheus = ['test/prometheus/**/*.test.ts'];
/** Also in the suite `faults`, with more and other seeds. */
const laws = ['test/property/convergence.test.ts'];
const sharedReplicaSet = ['test/support/global-setup.ts'];
const compiled = {
  globalSetup: [...sharedReplicaSet, 'test/support/build.ts'],
  setupFiles: ['test/support/use-build.ts'],
};

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    retry: 0,
    setupFiles: ['test/support/setup.ts'],
    testTimeout: 90_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
    reporters: process.env['CI'] === 'true' ? ['dot'] : ['default'],
    projects: [
      { extends: true, test: { name: 'unit', include: withoutMongo } },
      {
        extends: true,
        test: {
          name: 'mongodb',
          include: ['test/**/*.test.ts'],
          exclude: [...withoutMongo, ...harmful, ...ofImage, ...ofPrometheus],
          globalSetup: sharedReplicaSet,
        },
      },
      {
        extends: true,
        test: {
          name: 'faults',
          include: [...harmful, ...laws],
          exclude: alone,
          env: { CONVERGENCE_RUNS: process.env['CONVERGENCE_RUNS'] ?? '25' },
          testTimeout: 180_000,
          ...compiled,
        },
      },
      {
        extends: true,
        test: {
          name: 'faults-alone',
          include: alone,
          sequence: { groupOrder: 1 },
          testTimeout: 180_000,
          ...compiled,
        },
      },
      {
        extends: true,
        test: { name: 'prometheus', include: ofPrometheus, ...compiled },
      },
      { extends: true, test: { name: 'image', include: ofImage, globalSetup: sharedReplicaSet } },
    ],
  },
});
