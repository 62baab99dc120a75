// The customers of one account in one mode: who exists, in which order, and how each is written as JSON.
// Knows nothing of HTTP or events.
import { CreationOrder } from './creation-order.js';
import { createIdCodec, type IdCodec } from './customer-ids.js';
import { indented, JsonWriter, type Place, stripeJson } from './json-writer.js';
import { createRandom } from './random.js';
import { createdTimes } from './seed.js';
import { SeededCustomers } from './seeded-customer.js';
import type { CustomerObject, SeedOptions, SeedResult, TestClockObject } from './types.js';

const LIVE = 0;
const DELETED = 1;
const ON_TEST_CLOCK = 2;
const SEED_CLOCK = 'clock_1SimulatedTestClock000';

/** A batch of seeded customers: records `first` to `last`, rendered when asked for. */
interface Batch {
  first: number;
  last: number;
  usual: SeededCustomers;
  onTestClock: SeededCustomers;
}

/** A customer whose JSON is held: created, raw or changed ones. */
interface Held {
  json: string;
  /** Given as text, to be served byte for byte. */
  isRaw: boolean;
  email: string | null;
  testClock: string | null;
}

type SeedPlan = Required<Omit<SeedOptions, 'events'>>;

/** Records are numbers from 0 on, in the order they were made in. */
export class CustomerStore {
  readonly order = new CreationOrder();
  private readonly codec: IdCodec;
  private readonly state: number[] = [];
  private readonly held = new Map<number, Held>();
  private readonly givenIds = new Map<string, number>();
  private readonly idsGiven = new Map<number, string>();
  private readonly batches: Batch[] = [];
  private readonly scratch = new JsonWriter();
  private readonly clocks = new Map<string, TestClockObject>();
  private listed = 0;

  constructor(
    readonly livemode: boolean,
    salt: number,
  ) {
    this.codec = createIdCodec('cus_', salt);
  }

  get listedCount(): number {
    return this.listed;
  }

  /** The record of an id, deleted or not. */
  find(id: string): number | undefined {
    const given = this.givenIds.get(id);
    if (given !== undefined) return given;
    const record = this.codec.decode(id);
    return record !== undefined && record < this.order.length && !this.idsGiven.has(record)
      ? record
      : undefined;
  }

  idOf(record: number): string {
    return this.idsGiven.get(record) ?? this.codec.encode(record);
  }

  isDeleted(record: number): boolean {
    return this.state[record] === DELETED;
  }

  /** Whether a listing without filters shows it: deleted and test-clock customers are not. */
  isListed(record: number): boolean {
    return this.state[record] === LIVE;
  }

  /** The id that the next customer gets when none is given. */
  nextId(): string {
    return this.codec.encode(this.order.length);
  }

  /** Adds a customer under its id; `raw` is served as it is, whatever the object says. Throws when the id is taken. */
  add(id: string, created: number, customer: Partial<CustomerObject>, raw?: string): void {
    if (this.find(id) !== undefined) throw new Error(`The simulator has a customer ${id} already`);
    const isOwnId = id === this.nextId();
    const record = this.order.add(clampSeconds(created));
    if (!isOwnId) {
      this.givenIds.set(id, record);
      this.idsGiven.set(record, id);
    }
    this.state[record] = LIVE;
    this.listed += 1;
    this.hold(record, customer, raw);
  }

  /** Replaces what is served for the record. */
  hold(record: number, customer: Partial<CustomerObject>, raw?: string): void {
    const json = raw ?? stripeJson(customer);
    const testClock = typeof customer.test_clock === 'string' ? customer.test_clock : null;
    const email = typeof customer.email === 'string' ? customer.email : null;
    this.held.set(record, { json, isRaw: raw !== undefined, email, testClock });
    this.setState(record, testClock === null ? LIVE : ON_TEST_CLOCK);
  }

  delete(record: number): void {
    this.held.delete(record);
    this.setState(record, DELETED);
  }

  /** The customer as JSON; of a deleted one, what Stripe answers for it. */
  json(record: number): string {
    this.write(this.scratch, record, 'alone');
    return this.scratch.take().toString();
  }

  /** Writes what `json` gives. */
  write(writer: JsonWriter, record: number, place: Place): void {
    const held = this.held.get(record);
    if (held !== undefined) {
      writer.text(held.isRaw ? held.json : indented(held.json, place));
    } else if (this.isDeleted(record)) {
      const stub = { id: this.idOf(record), object: 'customer', deleted: true };
      writer.text(indented(stripeJson(stub), place));
    } else {
      const batch = this.batchOf(record);
      const customers = this.state[record] === ON_TEST_CLOCK ? batch.onTestClock : batch.usual;
      const created = this.order.createdOf(record);
      customers.write(writer, place, this.idOf(record), created, record - batch.first);
    }
  }

  emailOf(record: number): string | null {
    const held = this.held.get(record);
    if (held !== undefined) return held.email;
    const batch = this.batchOf(record);
    return batch.usual.email(record - batch.first);
  }

  testClockOf(record: number): string | null {
    if (this.state[record] !== ON_TEST_CLOCK) return null;
    return this.held.get(record)?.testClock ?? SEED_CLOCK;
  }

  /** Makes a clock that need not have customers; those of `create` and `seed` come with theirs. */
  addTestClock(id: string, created: number): TestClockObject {
    const clock = testClockObject(id, created);
    this.clocks.set(id, clock);
    return clock;
  }

  /** Forgets a clock. Returns the records of its customers, which Stripe deletes with it. */
  removeTestClock(id: string): number[] {
    this.clocks.delete(id);
    return Array.from({ length: this.order.length }, (_, record) => record).filter(
      (record) => this.testClockOf(record) === id,
    );
  }

  /** The clocks that were made or that living customers are attached to, the newest first. */
  testClocks(): TestClockObject[] {
    const firstSeen = new Map<string, number>();
    for (let position = 0; position < this.order.length; position += 1) {
      const record = this.order.recordAt(position);
      const clock = this.testClockOf(record);
      if (clock !== null && !firstSeen.has(clock)) firstSeen.set(clock, this.order.createdOf(record));
    }
    for (const { id, created } of this.clocks.values()) firstSeen.set(id, created);
    return Array.from(firstSeen, ([id, created]) => testClockObject(id, created)).reverse();
  }

  /** Adds many at once, without holding any JSON. Returns the first record too. */
  seed(plan: SeedPlan): SeedResult & { first: number } {
    const times = createdTimes(plan.count, plan.distribution, plan.from, plan.to, plan.seed);
    const first = this.order.addSorted(times);
    const { seed, customerBytes } = plan;
    const traits = { seed, livemode: this.livemode, customerBytes };
    this.batches.push({
      first,
      last: first + plan.count - 1,
      usual: new SeededCustomers({ ...traits, testClock: null }),
      onTestClock: new SeededCustomers({ ...traits, testClock: SEED_CLOCK }),
    });
    const random = createRandom(plan.seed + 1);
    let deleted = 0;
    let testClocks = 0;
    for (let record = first; record < first + plan.count; record += 1) {
      const lot = random.next();
      const isDeleted = lot < plan.deletedShare;
      const isOnClock = !isDeleted && lot < plan.deletedShare + plan.testClockShare;
      this.state[record] = isDeleted ? DELETED : isOnClock ? ON_TEST_CLOCK : LIVE;
      deleted += Number(isDeleted);
      testClocks += Number(isOnClock);
    }
    this.listed += plan.count - deleted - testClocks;
    return { count: plan.count, deleted, testClocks, first };
  }

  /** Listed records, newest first. */
  *listedRecords(): Generator<number> {
    for (let position = this.order.length - 1; position >= 0; position -= 1) {
      const record = this.order.recordAt(position);
      if (this.isListed(record)) yield record;
    }
  }

  private setState(record: number, state: number): void {
    this.listed += Number(state === LIVE) - Number(this.state[record] === LIVE);
    this.state[record] = state;
  }

  private batchOf(record: number): Batch {
    const batch = this.batches.findLast((candidate) => candidate.first <= record);
    if (batch === undefined || batch.last < record) {
      throw new Error(`The simulator lost the data of record ${record}`);
    }
    return batch;
  }
}

const testClockObject = (id: string, created: number): TestClockObject => ({
  id,
  object: 'test_helpers.test_clock',
  created,
  deletes_after: created + 30 * 86_400,
  frozen_time: created,
  livemode: false,
  name: null,
  status: 'ready',
  status_details: {},
});

function clampSeconds(created: number): number {
  return Number.isFinite(created) ? Math.min(Math.max(Math.floor(created), 0), 0xfffffffe) : 0;
}
