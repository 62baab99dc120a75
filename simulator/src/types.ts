// The simulator's handle and its options, and in one place all other public types. Types only.
import type {
  FaultHandle,
  FaultOrder,
  Hold,
  HoldOrder,
  Latency,
  Limits,
  RecordedCall,
  Stats,
} from './call-types.js';
import type { KeyOptions, SeedOptions, SimulatedAccount, SimulatedMode } from './data-types.js';

export type * from './call-types.js';
export type * from './data-types.js';
export type * from './remote-types.js';

export interface SimulatorClock {
  /** Milliseconds since the epoch, as the simulator believes. */
  now: () => number;
  /** Unix seconds. */
  seconds: () => number;
  /** How far it runs ahead of the machine's clock. */
  readonly offsetMs: number;
  setOffset: (ms: number) => void;
}

export interface SimulatorOptions {
  /** 0 (the default) takes a free one. */
  port?: number;
  /** Mode of the shortcuts `create`, `seed`, `get`… on the simulator. Default false: test mode. */
  livemode?: boolean;
  /** The default account's id. */
  accountId?: string;
  /** Seeds first, before it listens. */
  seed?: SeedOptions;
  latency?: Latency;
  limits?: Limits;
  clockOffsetMs?: number;
  /** Calls the log keeps, oldest dropped first; 0 switches it off. Default 10,000. */
  logSize?: number;
  /** Seeds all random choices: jitter, `computeAt: 'random'`, `updateRandom`. Default 1. */
  randomSeed?: number;
  /** The version for calls without `Stripe-Version`. */
  apiVersion?: string;
  /**
   * What a `limit` outside 1 to 100 does. `reject` (the default) follows the documented range; a third party that
   * recorded the live API saw it clamped.
   */
  limitOutOfRange?: 'reject' | 'clamp';
  /**
   * What a deleted customer as cursor does: `reject` (the default) answers `resource_missing`, `position` goes on
   * from where it was. Stripe documents neither.
   */
  deletedCursor?: 'reject' | 'position';
  /** Opens the control API under `/_simulator/`. Default false. */
  control?: boolean;
}

export interface StripeSimulator extends SimulatedMode, AsyncDisposable {
  /** `http://127.0.0.1:port` */
  readonly url: string;
  readonly host: '127.0.0.1';
  readonly port: number;
  /** The default account's secret key of the default mode. */
  readonly key: string;
  /** The default account's restricted key of the default mode: customers and events, read only. */
  readonly restrictedKey: string;
  readonly clock: SimulatorClock;
  readonly stats: Stats;
  /** The log, oldest first. */
  readonly requests: readonly RecordedCall[];
  readonly refused: Stats['refused'];
  readonly writes: number;
  readonly maxInFlight: number;
  readonly callsPerSecond: number;
  /** The default account, or the one with this id; made when it does not exist yet. */
  account(id?: string): SimulatedAccount;
  /** Makes a key valid: `sk_test_…`, `sk_live_…`, `rk_test_…` or `rk_live_…`. */
  addKey(key: string, options?: KeyOptions & { accountId?: string }): void;
  /** From now on 401 `api_key_expired`. */
  expireKey(key: string): void;
  /** From now on 401 as if it had never existed. */
  revokeKey(key: string): void;
  setLatency(latency: Latency | undefined): void;
  setLimits(limits: Limits | undefined): void;
  setLogSize(size: number): void;
  fault(order: FaultOrder): FaultHandle;
  /** Removes all faults. */
  clearFaults(): void;
  hold(order: HoldOrder): Hold;
  /** Clears log, counters, faults, holds, latency and limits; data and keys stay. */
  reset(): void;
  /** Destroys all sockets and leaves no handle. Throws what the simulator itself did wrong meanwhile. */
  close(): Promise<void>;
}
