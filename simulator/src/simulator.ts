// The simulator in this process: puts the parts together and gives tests their handle.
import { Account, KeyRing } from './auth.js';
import { createClock } from './clock.js';
import { controlHandler } from './control.js';
import { FaultBoard } from './faults.js';
import { HoldBoard } from './holds.js';
import { Observations } from './observations.js';
import { createRandom } from './random.js';
import { StripeServer } from './server.js';
import type {
  CustomerFields,
  FaultOrder,
  HoldOrder,
  KeyOptions,
  Latency,
  Limits,
  MutationOptions,
  SeedOptions,
  SimulatorOptions,
  StripeSimulator,
} from './types.js';

/** The version that the installed SDK pins. */
export const DEFAULT_API_VERSION = '2026-10-28.endive';
export const DEFAULT_ACCOUNT_ID = 'acct_1Simulated0Default';
const HOST = '127.0.0.1';

/**
 * Starts a simulated Stripe on 127.0.0.1. Rejects when the port is taken. Close it, or the process stays alive.
 * It follows Stripe's documentation; where that is silent, the options say what is assumed.
 */
export async function startSimulator(options: SimulatorOptions = {}): Promise<StripeSimulator> {
  const simulator = new Simulator(options);
  await simulator.listen(options.port ?? 0);
  return simulator;
}

class Simulator implements StripeSimulator {
  readonly host = HOST;
  readonly clock;
  readonly livemode: boolean;
  port = 0;
  private readonly random;
  private readonly apiVersion: string;
  private readonly keyRing = new KeyRing();
  private readonly faults = new FaultBoard();
  private readonly holds = new HoldBoard();
  private readonly observations: Observations;
  private readonly accounts = new Map<string, Account>();
  private readonly mainAccount: Account;
  private readonly server: StripeServer;

  constructor(options: SimulatorOptions) {
    this.clock = createClock(options.clockOffsetMs ?? 0);
    this.random = createRandom(options.randomSeed ?? 1);
    this.apiVersion = options.apiVersion ?? DEFAULT_API_VERSION;
    this.livemode = options.livemode ?? false;
    this.observations = new Observations(options.logSize ?? 10_000);
    this.mainAccount = this.addAccount(options.accountId ?? DEFAULT_ACCOUNT_ID);
    this.server = new StripeServer({
      clock: this.clock,
      random: this.random,
      keys: this.keyRing,
      faults: this.faults,
      holds: this.holds,
      observations: this.observations,
      options: {
        apiVersion: this.apiVersion,
        limitOutOfRange: options.limitOutOfRange ?? 'reject',
        deletedCursor: options.deletedCursor ?? 'reject',
      },
      control: options.control === true ? controlHandler(this) : undefined,
    });
    this.server.latency = options.latency;
    this.server.limits = options.limits;
    if (options.seed !== undefined) this.seed(options.seed);
  }

  get url() {
    return `http://${HOST}:${this.port}`;
  }
  get key() {
    const { keys } = this.mainAccount;
    return this.livemode ? keys.secretLive : keys.secretTest;
  }
  get restrictedKey() {
    const { keys } = this.mainAccount;
    return this.livemode ? keys.restrictedLive : keys.restrictedTest;
  }
  get stats() {
    return this.observations.snapshot();
  }
  get requests() {
    return this.observations.requests();
  }
  get refused() {
    return this.stats.refused;
  }
  get writes() {
    return this.stats.writes;
  }
  get maxInFlight() {
    return this.stats.maxInFlight;
  }
  get callsPerSecond() {
    return this.stats.callsPerSecond;
  }
  get listedCount() {
    return this.mode.listedCount;
  }

  create(fields?: CustomerFields, options?: MutationOptions) {
    return this.mode.create(fields, options);
  }
  createRaw(json: string | object, options?: MutationOptions) {
    return this.mode.createRaw(json, options);
  }
  update(id: string, fields: CustomerFields, options?: MutationOptions) {
    return this.mode.update(id, fields, options);
  }
  delete(id: string, options?: MutationOptions) {
    this.mode.delete(id, options);
  }
  get(id: string) {
    return this.mode.get(id);
  }
  list() {
    return this.mode.list();
  }
  listIds() {
    return this.mode.listIds();
  }
  seed(options: SeedOptions) {
    return this.mode.seed(options);
  }
  updateRandom(n: number, options?: MutationOptions) {
    return this.mode.updateRandom(n, options);
  }
  deleteRandom(n: number, options?: MutationOptions) {
    return this.mode.deleteRandom(n, options);
  }
  createTestClock(id: string) {
    return this.mode.createTestClock(id);
  }
  deleteTestClock(id: string) {
    this.mode.deleteTestClock(id);
  }
  clear() {
    this.mode.clear();
  }

  account(id: string = this.mainAccount.id): Account {
    return this.accounts.get(id) ?? this.addAccount(id);
  }

  addKey(key: string, options: KeyOptions & { accountId?: string } = {}): void {
    this.keyRing.add(key, this.account(options.accountId), options);
  }
  expireKey(key: string): void {
    this.keyRing.expire(key);
  }
  revokeKey(key: string): void {
    this.keyRing.revoke(key);
  }

  setLatency(latency: Latency | undefined): void {
    this.server.latency = latency;
  }
  setLimits(limits: Limits | undefined): void {
    this.server.limits = limits;
  }
  setLogSize(size: number): void {
    this.observations.setLogSize(size);
  }

  fault(order: FaultOrder) {
    return this.faults.add(order);
  }
  clearFaults(): void {
    this.faults.clear();
  }
  hold(order: HoldOrder) {
    return this.holds.add(order);
  }

  reset(): void {
    this.observations.reset();
    this.faults.clear();
    this.holds.releaseAll();
    this.server.latency = undefined;
    this.server.limits = undefined;
    this.server.resetLimiters();
  }

  async listen(port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.server.http.once('error', reject);
      this.server.http.listen(port, HOST, () => {
        this.server.http.off('error', reject);
        resolve();
      });
    });
    const address = this.server.http.address();
    if (address === null || typeof address === 'string') throw new Error('The simulator got no port');
    this.port = address.port;
  }

  async close(): Promise<void> {
    await this.server.close();
    const { ownFaults } = this.server;
    if (ownFaults.length > 0) throw new AggregateError(ownFaults, 'The simulator itself failed');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private get mode() {
    return this.livemode ? this.mainAccount.live : this.mainAccount.test;
  }

  private addAccount(id: string): Account {
    const { clock, random, apiVersion } = this;
    const account = new Account(id, { clock, random, apiVersion });
    this.accounts.set(id, account);
    const { secretTest, secretLive, restrictedTest, restrictedLive } = account.keys;
    for (const key of [secretTest, secretLive, restrictedTest, restrictedLive])
      this.keyRing.add(key, account);
    return account;
  }
}
