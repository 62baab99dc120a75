// One account in one mode, as tests change it: every mutation reaches the customers and is recorded as an event.
import { CustomerStore } from './customers.js';
import { type CustomerEventType, EventStore, previousAttributes } from './events.js';
import { stripeJson } from './json-writer.js';
import { applyUpdate, newCustomer } from './new-customer.js';
import { hashText, type Random } from './random.js';
import type {
  CustomerFields,
  CustomerObject,
  DeletedCustomerObject,
  MutationOptions,
  SeedOptions,
  SeedResult,
  SimulatedMode,
  TestClockObject,
  SimulatorClock,
} from './types.js';

const THREE_YEARS_SECONDS = 3 * 365 * 24 * 3600;
const MOST_SEEDED = 4_000_000;

export interface ModeSurroundings {
  accountId: string;
  clock: SimulatorClock;
  random: Random;
  apiVersion: string;
}

export class Mode implements SimulatedMode {
  customers: CustomerStore;
  events: EventStore;

  constructor(
    readonly livemode: boolean,
    private readonly surroundings: ModeSurroundings,
  ) {
    const salt = hashText(`${surroundings.accountId} ${livemode}`);
    this.customers = new CustomerStore(livemode, salt);
    this.events = new EventStore(salt);
  }

  get listedCount(): number {
    return this.customers.listedCount;
  }

  create(fields: CustomerFields = {}, options: MutationOptions = {}): CustomerObject {
    const id = fields.id ?? this.customers.nextId();
    const created = fields.created ?? this.surroundings.clock.seconds();
    const customer = newCustomer({ id, created, livemode: this.livemode }, fields);
    this.customers.add(id, created, customer);
    this.happened('customer.created', stripeJson(customer), options);
    return customer;
  }

  createRaw(json: string | object, options: MutationOptions = {}): string {
    const text = typeof json === 'string' ? json : stripeJson(json);
    const parsed: unknown = JSON.parse(text);
    if (!isCustomerLike(parsed)) throw new Error('A raw customer must be a JSON object with a string id');
    const created = typeof parsed.created === 'number' ? parsed.created : this.surroundings.clock.seconds();
    this.customers.add(parsed.id, created, parsed, typeof json === 'string' ? json : undefined);
    this.happened('customer.created', text, options);
    return parsed.id;
  }

  update(id: string, fields: CustomerFields, options: MutationOptions = {}): CustomerObject {
    const record = this.existing(id);
    const before = parseCustomer(this.customers.json(record));
    const after = applyUpdate(before, fields);
    this.customers.hold(record, after);
    if (options.event !== false) {
      this.happened('customer.updated', stripeJson(after), options, previousAttributes(before, after));
    }
    return after;
  }

  delete(id: string, options: MutationOptions = {}): void {
    const record = this.existing(id);
    const last = this.customers.json(record);
    this.customers.delete(record);
    this.happened('customer.deleted', last, options);
  }

  get(id: string): CustomerObject | DeletedCustomerObject | undefined {
    const record = this.customers.find(id);
    return record === undefined ? undefined : parseCustomer(this.customers.json(record));
  }

  list(): CustomerObject[] {
    return Array.from(this.customers.listedRecords(), (record) => parseCustomer(this.customers.json(record)));
  }

  listIds(): string[] {
    return Array.from(this.customers.listedRecords(), (record) => this.customers.idOf(record));
  }

  seed(options: SeedOptions): SeedResult {
    const now = this.surroundings.clock.seconds();
    const to = options.to ?? now - 1;
    const from = options.from ?? to - THREE_YEARS_SECONDS;
    if (!Number.isInteger(options.count) || options.count < 0 || options.count > MOST_SEEDED) {
      throw new Error(`count must be a whole number from 0 to ${MOST_SEEDED}, got ${options.count}`);
    }
    if (from > to) throw new Error(`from must not be after to, got ${from} and ${to}`);
    const { distribution = 'uniform', seed = 1, deletedShare = 0, testClockShare = 0 } = options;
    const { count, customerBytes = 1600 } = options;
    const times = { count, distribution, from, to, seed };
    const seeded = this.customers.seed({ ...times, deletedShare, testClockShare, customerBytes });
    if (options.events === true) this.recordSeed(seeded.first, count);
    return { count, deleted: seeded.deleted, testClocks: seeded.testClocks };
  }

  updateRandom(n: number, options: MutationOptions = {}): string[] {
    const ids = this.pickListed(n);
    for (const id of ids) {
      this.update(id, { description: `Changed ${this.surroundings.random.below(0x7fffffff)}` }, options);
    }
    return ids;
  }

  deleteRandom(n: number, options: MutationOptions = {}): string[] {
    const ids = this.pickListed(n);
    for (const id of ids) this.delete(id, options);
    return ids;
  }

  createTestClock(id: string): TestClockObject {
    return this.customers.addTestClock(id, this.surroundings.clock.seconds());
  }

  deleteTestClock(id: string): void {
    if (!this.customers.testClocks().some((clock) => clock.id === id)) {
      throw new Error(`The simulator has no test clock ${id}`);
    }
    for (const record of this.customers.removeTestClock(id)) this.delete(this.customers.idOf(record));
  }

  clear(): void {
    const salt = hashText(`${this.surroundings.accountId} ${this.livemode}`);
    this.customers = new CustomerStore(this.livemode, salt);
    this.events = new EventStore(salt);
  }

  private existing(id: string): number {
    const record = this.customers.find(id);
    if (record === undefined || this.customers.isDeleted(record)) {
      throw new Error(`The simulator has no customer ${id}`);
    }
    return record;
  }

  private recordSeed(first: number, count: number): void {
    for (let record = first; record < first + count; record += 1) {
      if (this.customers.isDeleted(record)) continue;
      const created = this.customers.order.createdOf(record);
      this.recordEvent('customer.created', created, this.customers.json(record));
    }
  }

  private happened(
    type: CustomerEventType,
    object: string,
    options: MutationOptions,
    previous?: object,
  ): void {
    if (options.event === false) return;
    this.recordEvent(type, this.surroundings.clock.seconds(), object, previous);
  }

  private recordEvent(type: CustomerEventType, created: number, object: string, previous?: object): void {
    this.events.record({
      type,
      created,
      livemode: this.livemode,
      apiVersion: this.surroundings.apiVersion,
      object,
      ...(previous === undefined ? {} : { previousAttributes: previous }),
    });
  }

  /** n different ids; all of them when there are no more. */
  private pickListed(n: number): string[] {
    const { order } = this.customers;
    const wanted = Math.min(n, this.listedCount);
    const picked = new Set<number>();
    // Guessing is quick while most records are listed; otherwise the rest is taken in order.
    for (let tries = 0; picked.size < wanted && tries < wanted * 20; tries += 1) {
      const record = order.recordAt(this.surroundings.random.below(order.length));
      if (this.customers.isListed(record)) picked.add(record);
    }
    for (const record of this.customers.listedRecords()) {
      if (picked.size >= wanted) break;
      picked.add(record);
    }
    return Array.from(picked, (record) => this.customers.idOf(record));
  }
}

function parseCustomer(json: string): CustomerObject {
  // The store wrote it, or a test did, who wants it exactly so.
  return JSON.parse(json) as CustomerObject;
}

function isCustomerLike(value: unknown): value is Partial<CustomerObject> & { id: string } {
  return typeof value === 'object' && value !== null && 'id' in value && typeof value.id === 'string';
}
