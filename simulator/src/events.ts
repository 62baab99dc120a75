// Events of one account in one mode: https://docs.stripe.com/api/events. A snapshot when it happened, kept for 30 days.
import { CreationOrder } from './creation-order.js';
import { createIdCodec, type IdCodec } from './customer-ids.js';
import { indented, stripeJson } from './json-writer.js';

/** Stands for the customer until its JSON is put there. */
const OBJECT = '(object)';
const RETENTION_SECONDS = 30 * 24 * 3600;

export type CustomerEventType = 'customer.created' | 'customer.updated' | 'customer.deleted';

export interface NewEvent {
  type: CustomerEventType;
  created: number;
  livemode: boolean;
  apiVersion: string;
  /** The customer when it happened, as JSON; of a deletion, its last state. */
  object: string;
  /** For updates: what the changed fields were. */
  previousAttributes?: object;
}

/** Records are numbers from 0 on, in the order they happened in. */
export class EventStore {
  readonly order = new CreationOrder();
  private readonly codec: IdCodec;
  private readonly events: { type: CustomerEventType; json: string }[] = [];

  constructor(salt: number) {
    this.codec = createIdCodec('evt_1Sim', salt);
  }

  record(event: NewEvent): void {
    const id = this.codec.encode(this.order.length);
    const { previousAttributes: previous } = event;
    // A placeholder, not the parsed object: keys such as __proto__ and unusual numbers must stay as they are.
    const json = stripeJson({
      id,
      object: 'event',
      api_version: event.apiVersion,
      created: event.created,
      data: { object: OBJECT, ...(previous === undefined ? {} : { previous_attributes: previous }) },
      livemode: event.livemode,
      pending_webhooks: 0,
      request: { id: null, idempotency_key: null },
      type: event.type,
    }).replace(`"${OBJECT}"`, () => indented(event.object, 'listed'));
    const number = this.order.add(event.created);
    this.events[number] = { type: event.type, json };
  }

  /** The record of an id, also when it is older than 30 days. */
  find(id: string): number | undefined {
    const record = this.codec.decode(id);
    return record !== undefined && record < this.order.length ? record : undefined;
  }

  json(record: number): string {
    return this.events[record]?.json ?? 'null';
  }

  typeOf(record: number): string {
    return this.events[record]?.type ?? '';
  }

  /** The oldest second from which events are still given out: 30 days before now. */
  static oldest(nowSeconds: number): number {
    return Math.max(0, nowSeconds - RETENTION_SECONDS);
  }
}

/** The values that changed fields had before; hashes by key, arrays whole, new keys as null. */
export function previousAttributes(before: Fields, after: Fields): Fields {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  const changed: [string, unknown][] = [];
  for (const name of names) {
    const was = ownValue(before, name);
    const is = ownValue(after, name);
    if (JSON.stringify(was) === JSON.stringify(is)) continue;
    changed.push([name, isHash(was) && isHash(is) ? previousAttributes(was, is) : (was ?? null)]);
  }
  return Object.fromEntries(changed);
}

type Fields = Record<string, unknown>;

function ownValue(fields: Fields, name: string): unknown {
  return Object.hasOwn(fields, name) ? fields[name] : undefined;
}

function isHash(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
