// All that the snapshot of the public surface takes from src, in this one place: files of src may move, the surface stays.
import { runCommandLine } from '../../../src/cli/commands.js';
import { exitCodes } from '../../../src/cli/faults.js';
import { type Terminal } from '../../../src/cli/screen/terminal.js';
import { type CollectionPlan } from '../../../src/mongo/collections.js';
import { settings, valueAt } from '../../../src/config/settings.js';
import { metricPrefix, metricSpecs } from '../../../src/metrics/catalog.js';
import { laneOf } from '../../../src/requests/commands.js';
import { requestStatuses } from '../../../src/requests/request.js';
import { requestsPlan, statePlan } from '../../../src/requests/indexes.js';
import { requestValidator, validatorVersion } from '../../../src/requests/validator.js';
import { customer } from '../../../src/resources/customer.js';
import { liveView, mirrorPlan } from '../../../src/mirror/ensure.js';
import { defaultNames } from '../../../src/mongo/sync-state.js';

/** What `import … from 'stripe-mongo-sync'` is compiled from, from the root of the repository. */
export const libraryEntry = 'src/index.ts';

export {
  exitCodes,
  laneOf,
  metricPrefix,
  metricSpecs,
  requestStatuses,
  runCommandLine,
  settings,
  type Terminal,
  valueAt,
};

export const collectionPlans: readonly CollectionPlan[] = [
  mirrorPlan(customer.collection(defaultNames)),
  requestsPlan(defaultNames),
  statePlan(defaultNames),
];
export const view = liveView(customer.collection(defaultNames));
export const validator = { version: validatorVersion, rules: requestValidator() };
