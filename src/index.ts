// The library: what `import … from 'stripe-mongo-sync'` gives.
export {
  StripeCustomerAction,
  type ActionOptions,
  type BatchOptions,
  type ConnectOptions,
  type ScanActionOptions,
} from './customer-action.js';
export {
  customerModel,
  customerSchema,
  StripeCustomer,
  type MirroredCustomer,
  type StripeCustomerModel,
  type SyncStamp,
} from './mirror/model.js';
export { Fault, type FaultCode, type FaultKind } from './base/errors.js';
export type { ItemResult, Outcome, Progress, SyncResult } from './sync/outcome.js';
export type { ScanReport } from './sync/scan/scan.js';
export type { ConfigOptions } from './config/load.js';
export { requests, type InsertOptions, type ResultOptions } from './requests/client/client.js';
export type { EndedRequest } from './requests/client/end-watcher.js';
export { requestJsonSchema, type JsonSchema } from './requests/json-schema.js';
export type { RequestsDatabase } from './requests/client/end-watcher.js';
export type {
  CommandInput,
  EndStatus,
  RequestId,
  RequestInput,
  RequestOptions,
  RequestStatus,
  SyncRequestDocument,
} from './requests/request.js';
