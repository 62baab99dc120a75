// The simulator's operations from another process. Types only.
import type { CallMatch, FaultKind, Latency, Limits, RecordedCall, Stats } from './call-types.js';
import type {
  AccountKeys,
  CustomerFields,
  CustomerObject,
  DeletedCustomerObject,
  KeyOptions,
  MutationOptions,
  SeedOptions,
  SeedResult,
  TestClockObject,
} from './data-types.js';
import type { SimulatorOptions } from './types.js';

/** Kinds of faults that can be ordered from another process. */
type RemoteFaultKind = Exclude<FaultKind, { kind: 'custom' }>;

export type RemoteFaultOrder = Omit<CallMatch, 'path'> & { path?: string | RegExp } & RemoteFaultKind & {
    times?: number;
    skip?: number;
  };

export interface RemoteFaultHandle {
  hits: () => Promise<number>;
  remove: () => Promise<void>;
}

/** `SimulatedMode` from another process. */
export interface RemoteMode {
  listedCount(): Promise<number>;
  create(fields?: CustomerFields, options?: MutationOptions): Promise<CustomerObject>;
  createRaw(json: string | object, options?: MutationOptions): Promise<string>;
  update(id: string, fields: CustomerFields, options?: MutationOptions): Promise<CustomerObject>;
  delete(id: string, options?: MutationOptions): Promise<void>;
  get(id: string): Promise<CustomerObject | DeletedCustomerObject | undefined>;
  list(): Promise<CustomerObject[]>;
  listIds(): Promise<string[]>;
  seed(options: SeedOptions): Promise<SeedResult>;
  updateRandom(n: number, options?: MutationOptions): Promise<string[]>;
  deleteRandom(n: number, options?: MutationOptions): Promise<string[]>;
  createTestClock(id: string): Promise<TestClockObject>;
  deleteTestClock(id: string): Promise<void>;
  clear(): Promise<void>;
}

export type SpawnOptions = Omit<SimulatorOptions, 'control'>;

/** A simulator in a process of its own. Its plain methods act on the default account in the default mode. */
export interface RemoteSimulator extends RemoteMode, AsyncDisposable {
  readonly url: string;
  readonly host: '127.0.0.1';
  readonly port: number;
  readonly pid: number;
  readonly key: string;
  readonly restrictedKey: string;
  /** The data of an account in a mode; the account is made when it does not exist yet. */
  mode(target: { accountId?: string; livemode?: boolean }): RemoteMode;
  /** The keys of an account. */
  keys(accountId?: string): Promise<AccountKeys>;
  addKey(key: string, options?: KeyOptions & { accountId?: string }): Promise<void>;
  expireKey(key: string): Promise<void>;
  revokeKey(key: string): Promise<void>;
  setLatency(latency: Latency | undefined): Promise<void>;
  setLimits(limits: Limits | undefined): Promise<void>;
  setLogSize(size: number): Promise<void>;
  setClockOffset(ms: number): Promise<void>;
  fault(order: RemoteFaultOrder): Promise<RemoteFaultHandle>;
  clearFaults(): Promise<void>;
  stats(): Promise<Stats>;
  requests(): Promise<RecordedCall[]>;
  reset(): Promise<void>;
  /** Ends the process that was started, and no other. */
  close(): Promise<void>;
}
