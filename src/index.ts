// The library: what `import … from 'stripe-mongo-sync'` gives.
export {
  StripeCustomerAction,
  type ActionOptions,
  type BatchOptions,
  type ConnectOptions,
  type ScanActionOptions,
} from './stripe-customer-action.js';
export {
  customerSchema,
  StripeCustomer,
  type MirroredCustomer,
  type StripeCustomerModel,
  type SyncStamp,
} from './store/models.js';
export { Fault, type FaultCode, type FaultKind } from './errors.js';
export type { ItemResult, Outcome, Progress, SyncResult } from './sync/outcome.js';
export type { ScanReport } from './sync/scan/scan.js';
export type { ConfigOptions } from './config.js';
