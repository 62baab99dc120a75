// What every implementation of the port `Mirror` must do, said in behaviour: any implementation can be registered here.
import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import type {
  CreatedRange,
  Head,
  ListedHead,
  Mirror,
  MirrorWrite,
  MirrorWriteResult,
  Observed,
  StripeId,
  StripeObject,
} from '../../src/sync/ports.js';
import type { Telling } from '../../src/sync/telling.js';

export interface MirrorBench {
  readonly mirror: Mirror;
  /** Stripe's fields of the stored object, whole; undefined where nothing is stored. */
  readonly fieldsOf: (id: StripeId) => Promise<object | undefined>;
}

/** Registers the suite. @param open gives an empty mirror, another one at each call; it is called in hooks and tests */
export function describeMirror(open: () => Promise<MirrorBench>): void {
  describeMirrorWrites(open);
  describe('the objects stored', () => describeReads(open));
}

/** The part that a mirror must pass which keeps its writes to itself. */
export function describeMirrorWrites(open: () => Promise<MirrorBench>): void {
  describe('each write, on each stored state', () => describeGuards(open));
  describe('a write', () => describeWrites(open));
}

const newId = (): StripeId => `cus_${randomUUID().replaceAll('-', '')}` as StripeId;
const during = (from: number, to = from): Observed => ({ from: new Date(from), to: new Date(to) });

const objectOf = (id: StripeId, fields: object = {}): StripeObject => ({
  id,
  object: 'customer',
  created: 500,
  name: 'stored',
  ...fields,
});

/** A name of a write; each call gives another one. */
let writeNumber = 0;
const newName = (): string => `write ${(writeNumber += 1)}`;

const putOf = (
  object: StripeObject,
  basis?: Head,
  observed: Telling = during(1_000, 1_100),
): MirrorWrite => ({
  kind: 'put',
  id: object.id,
  writeId: newName(),
  basis,
  object,
  hash: hashOf(object),
  observed,
  told: [],
  source: 'list',
});
const mergeOf = (id: StripeId, fields: object, basis?: Head, keepsHash = false): MirrorWrite => ({
  kind: 'merge',
  id,
  writeId: newName(),
  basis,
  fields: { id, ...fields },
  told: [{ fields: Object.keys(fields), telling: { ...during(1_200, 1_201), position: 'stream:1.0000' } }],
  keepsHash,
  source: 'batch',
});
const confirmOf = (id: StripeId, basis?: Head, observed = during(1_000, 1_100)): MirrorWrite => ({
  kind: 'confirm_deleted',
  id,
  writeId: newName(),
  basis,
  observed,
  source: 'retrieve',
});
const markOf = (id: StripeId, basis: Head): MirrorWrite => ({
  kind: 'mark_deleted',
  id,
  writeId: newName(),
  basis,
  source: 'request',
});
/** Any text that two objects share only if they are equal. */
const hashOf = (object: StripeObject): string => `hash of ${JSON.stringify(object)}`;

type NextWrite = (id: StripeId, stored: Head) => MirrorWrite;

/** How an object may be stored: a first write, and those that follow on it. */
const states = {
  nothing: [],
  whole: [(id) => putOf(objectOf(id))],
  part: [(id) => mergeOf(id, { name: 'stored' })],
  both: [(id) => putOf(objectOf(id)), (id, head) => mergeOf(id, { name: 'told' }, head)],
  marked: [(id) => putOf(objectOf(id)), markOf],
  confirmed: [(id) => putOf(objectOf(id), undefined, during(500, 510)), (id, head) => confirmOf(id, head)],
  tombstone: [(id) => confirmOf(id)],
} as const satisfies Record<string, readonly NextWrite[]>;

type State = keyof typeof states;
type Kind = MirrorWriteResult['kind'];

const changed = (id: StripeId): StripeObject => objectOf(id, { name: 'changed', email: null });

/** @param current what is stored */
type WriteOn = (id: StripeId, current: Head | undefined) => MirrorWrite;

const outdated = (id: StripeId): Head => ({
  id,
  created: 500,
  hash: 'of another state',
  deletedBy: undefined,
  writeId: 'another write',
  writtenAt: new Date(900),
  observed: during(800, 900),
  told: [],
});

const writes: Readonly<Record<string, WriteOn>> = {
  'put on what is stored': (id, current) => putOf(changed(id), current),
  'put on nothing': (id) => putOf(changed(id)),
  'put on another state': (id) => putOf(changed(id), outdated(id)),
  'merge on what is stored': (id, current) => mergeOf(id, { name: 'changed', phone: '1' }, current),
  'merge of nothing new': (id, current) => mergeOf(id, { name: 'stored' }, current, true),
  'merge on nothing': (id) => mergeOf(id, { name: 'changed' }),
  'merge on another state': (id) => mergeOf(id, { name: 'changed' }, outdated(id)),
  'confirmed deletion on what is stored': (id, current) => confirmOf(id, current, during(100, 110)),
  'confirmed deletion on nothing': (id) => confirmOf(id),
  'confirmed deletion on another state': (id) => confirmOf(id, outdated(id)),
  'mark on what is stored': (id, current) => markOf(id, current ?? outdated(id)),
  'mark on another state': (id) => markOf(id, outdated(id)),
};

/** The result of each write on each stored state. */
const guards = `
                                     | nothing  | whole    | part     | both     | marked   | confirmed | tombstone
put on what is stored                | written  | written  | written  | written  | written  | written   | written
put on nothing                       | written  | conflict | conflict | conflict | conflict | conflict  | conflict
put on another state                 | conflict | conflict | conflict | conflict | conflict | conflict  | conflict
merge on what is stored              | written  | written  | written  | written  | written  | written   | written
merge of nothing new                 | written  | written  | written  | written  | written  | written   | written
merge on nothing                     | written  | conflict | conflict | conflict | conflict | conflict  | conflict
merge on another state               | conflict | conflict | conflict | conflict | conflict | conflict  | conflict
confirmed deletion on what is stored | written  | written  | written  | written  | written  | written   | written
confirmed deletion on nothing        | written  | conflict | conflict | conflict | conflict | conflict  | conflict
confirmed deletion on another state  | conflict | conflict | conflict | conflict | conflict | conflict  | conflict
mark on what is stored               | conflict | written  | written  | written  | written  | written   | written
mark on another state                | conflict | conflict | conflict | conflict | conflict | conflict  | conflict
`;

interface Guard {
  readonly name: string;
  readonly state: State;
  readonly result: Kind;
}

const [, ...stateNames] = cellsOf(guards.trimStart().split('\n')[0]!) as ['', ...State[]];

const cases: readonly Guard[] = guards
  .trim()
  .split('\n')
  .slice(1)
  .map(cellsOf)
  .flatMap(([name = '', ...results]) =>
    results.map((result, index) => ({ name, state: stateNames[index]!, result: result as Kind })),
  );

function cellsOf(line: string): readonly string[] {
  return line.split('|').map((cell) => cell.trim());
}

interface Found {
  readonly head: Head | undefined;
  readonly fields: object | undefined;
}

/** Without the time at which it was read. */
const headOf = async (mirror: Mirror, id: StripeId): Promise<Head | undefined> => {
  const head = (await mirror.headsOf([id])).get(id);
  return head && { ...head, seenAt: undefined };
};

const read = async ({ mirror, fieldsOf }: MirrorBench, id: StripeId): Promise<Found> => ({
  head: await headOf(mirror, id),
  fields: await fieldsOf(id),
});

/** Writes one after the other, each of which must be applied. */
async function prepare(
  { mirror }: Pick<MirrorBench, 'mirror'>,
  ...prepared: readonly MirrorWrite[]
): Promise<void> {
  for (const write of prepared) expect(await mirror.write([write])).toEqual([{ kind: 'written' }]);
}

/** Brings an object into a state. */
async function bring(bench: Pick<MirrorBench, 'mirror'>, id: StripeId, state: State): Promise<void> {
  for (const next of states[state] as readonly NextWrite[]) {
    await prepare(bench, next(id, (await headOf(bench.mirror, id)) ?? outdated(id)));
  }
}

/** A time of MongoDB, whichever it is. */
const sometime = expect.any(Date) as Date;
const createdOf = (stored: object | undefined): number | undefined =>
  (stored as { created?: number } | undefined)?.created;
const plain = ({ from, to, position }: Telling): Telling => ({
  from,
  to,
  position,
});

/** What is stored after a write that was applied. */
function applied({ head, fields }: Found, write: MirrorWrite): Found {
  const { id, writeId } = write;
  const known = { id, created: createdOf(fields), hash: head?.hash, deletedBy: head?.deletedBy };
  const before = { ...known, observed: head?.observed, told: head?.told ?? [] };
  const after = { ...before, writeId, writtenAt: sometime };
  switch (write.kind) {
    case 'put': {
      const { object, hash, observed } = write;
      const created = createdOf(object);
      return { head: { ...after, created, hash, observed: plain(observed), told: [] }, fields: object };
    }
    case 'merge': {
      const merged = { ...fields, ...write.fields };
      const told = write.told.map((each) => ({ ...each, telling: plain(each.telling) }));
      const hash = write.keepsHash ? before.hash : undefined;
      return { head: { ...after, created: createdOf(merged), hash, told }, fields: merged };
    }
    case 'confirm_deleted':
      return {
        head: { ...after, observed: plain(write.observed), told: [], deletedBy: 'stripe' },
        fields: fields ?? { id, object: 'customer', deleted: true },
      };
    case 'mark_deleted':
      return { head: { ...after, deletedBy: 'request' }, fields };
  }
}

function describeGuards(open: () => Promise<MirrorBench>): void {
  let bench: MirrorBench;
  beforeAll(async () => {
    bench = await open();
  });

  test.each(cases)('$name, where $state is stored: $result', async ({ name, state, result }) => {
    const id = newId();
    await bring(bench, id, state);
    const before = await read(bench, id);
    const write = writes[name]!(id, before.head);

    const results = await bench.mirror.write([write]);

    expect(results).toEqual([{ kind: result }]);
    expect(await read(bench, id)).toEqual(result === 'written' ? applied(before, write) : before);
  });

  test.each(cases.filter(({ result }) => result === 'written'))(
    '$name, where $state is stored, sent again after a lost acknowledgement, counts as written and changes nothing',
    async ({ name, state }) => {
      const id = newId();
      await bring(bench, id, state);
      const write = writes[name]!(id, await headOf(bench.mirror, id));
      await prepare(bench, write);
      const after = await read(bench, id);

      expect(await bench.mirror.write([write])).toEqual([{ kind: 'written' }]);

      expect(await read(bench, id)).toEqual({ ...after, head: { ...after.head, writtenAt: sometime } });
    },
  );

  test('of a write that another one has replaced, the acknowledgement of which was lost: conflict', async () => {
    const id = newId();
    const first = putOf(objectOf(id));
    await prepare(bench, first);
    await prepare(bench, putOf(changed(id), await headOf(bench.mirror, id)));

    expect(await bench.mirror.write([first])).toEqual([{ kind: 'conflict' }]);

    expect(await bench.fieldsOf(id)).toEqual(changed(id));
  });
}

function describeWrites(open: () => Promise<MirrorBench>): void {
  let bench: MirrorBench;
  beforeAll(async () => {
    bench = await open();
  });

  test('has its result in its own place, whatever becomes of the others', async () => {
    const [known, fresh, outrun, missing] = [newId(), newId(), newId(), newId()];
    await prepare(bench, putOf(objectOf(known)), putOf(objectOf(outrun)));

    const results = await bench.mirror.write([
      mergeOf(known, { name: 'changed' }, await headOf(bench.mirror, known)),
      putOf(changed(outrun)),
      putOf(objectOf(fresh)),
      markOf(missing, outdated(missing)),
    ]);

    expect(results.map(({ kind }) => kind)).toEqual(['written', 'conflict', 'written', 'conflict']);
  });

  test('of nothing has no results', async () => {
    expect(await bench.mirror.write([])).toEqual([]);
  });

  test('keeps every field as it is: empty objects, null, unknown ones, and such as look like commands', async () => {
    const fields = { metadata: {}, address: null, $set: { 'a.b': ['$$ROOT', {}] }, of_tomorrow: [[null]] };
    const [whole, part] = [newId(), newId()];

    await prepare(bench, putOf(objectOf(whole, fields)), mergeOf(part, fields));
    const stored = await headOf(bench.mirror, whole);
    await prepare(bench, putOf(objectOf(whole, { ...fields, more: true }), stored));

    expect(await bench.fieldsOf(whole)).toStrictEqual({ ...objectOf(whole, fields), more: true });
    expect(await bench.fieldsOf(part)).toStrictEqual({ id: part, ...fields });
  });

  test('merges fields at the top level alone: what is below is replaced', async () => {
    const id = newId();
    await prepare(bench, putOf(objectOf(id, { metadata: { a: '1', b: '2' } })));

    await prepare(bench, mergeOf(id, { metadata: { b: '3' } }, await headOf(bench.mirror, id)));

    expect(await bench.fieldsOf(id)).toEqual(objectOf(id, { metadata: { b: '3' } }));
  });

  test.each([{}, { _bsontype: 'ObjectId' }])(
    'of an object of more than 16 MB is rejected alone: %j',
    async (metadata) => {
      const [large, fresh] = [newId(), newId()];

      const results = await bench.mirror.write([
        putOf(objectOf(large, { metadata, blob: 'x'.repeat(17 * 1024 * 1024) })),
        putOf(objectOf(fresh)),
      ]);

      expect(results).toEqual([
        { kind: 'rejected', code: 'document_too_large', message: expect.any(String) as string },
        { kind: 'written' },
      ]);
      const whole = objectOf(large, { metadata, blob: 'x'.repeat(17 * 1024 * 1024) });
      expect(bench.mirror.refusalOf(whole)).toEqual(results[0]);
      expect(bench.mirror.refusalOf(objectOf(fresh, { metadata }))).toBeUndefined();
      expect(await bench.fieldsOf(large)).toBeUndefined();
      expect(await bench.fieldsOf(fresh)).toBeDefined();
    },
  );

  test.each([
    '_bsontype',
    '__proto__',
    'constructor',
    'prototype',
    'hasOwnProperty',
    'toJSON',
    'toBSON',
    'a.b',
    '.',
    '$x',
    '',
    '7',
  ])('stores the key %j as any other, at every depth', async (key) => {
    const id = newId();
    const odd = (value: string) => JSON.parse(`{${JSON.stringify(key)}:${JSON.stringify(value)}}`) as object;
    const fields = (value: string) => ({
      metadata: odd(value),
      shipping: { address: odd(value) },
      list: [odd(value), [odd(value)]],
    });

    const inserted = await bench.mirror.write([
      putOf(objectOf(id, fields('ObjectId'))),
      putOf(objectOf(newId())),
    ]);
    expect(await bench.fieldsOf(id)).toEqual(objectOf(id, fields('ObjectId')));
    const replaced = await bench.mirror.write([
      putOf(objectOf(id, fields('Long')), await headOf(bench.mirror, id)),
      putOf(objectOf(newId())),
    ]);
    expect(await bench.fieldsOf(id)).toEqual(objectOf(id, fields('Long')));
    const merged = await bench.mirror.write([
      mergeOf(id, fields('Binary'), await headOf(bench.mirror, id)),
      putOf(objectOf(newId())),
    ]);
    expect(await bench.fieldsOf(id)).toEqual(objectOf(id, fields('Binary')));

    const written = [{ kind: 'written' }, { kind: 'written' }];
    expect([inserted, replaced, merged]).toEqual([written, written, written]);
  });

  test('of an object with NUL in a key is rejected alone, by name', async () => {
    const [odd, deep, fresh] = [newId(), newId(), newId()];

    const results = await bench.mirror.write([
      putOf(objectOf(odd, { metadata: { 'a\0b': '1' } })),
      putOf(objectOf(deep, { list: [{ _bsontype: 'ObjectId', inner: { '\0': 1 } }] })),
      putOf(objectOf(fresh, { metadata: { text: 'a\0b' } })),
    ]);

    const rejected = { kind: 'rejected', code: 'unstorable_key', message: expect.any(String) as string };
    expect(results).toEqual([rejected, rejected, { kind: 'written' }]);
    expect(bench.mirror.refusalOf(objectOf(odd, { metadata: { 'a\0b': '1' } }))).toEqual(rejected);
    expect(await bench.fieldsOf(odd)).toBeUndefined();
    expect(await bench.fieldsOf(fresh)).toEqual(objectOf(fresh, { metadata: { text: 'a\0b' } }));
  });

  test('is not sent where `beforeSend` throws, and that is thrown', async () => {
    const [lost, held] = [newId(), newId()];

    const isLost = (): void => {
      throw new Error('lease lost');
    };

    const [refused, written] = await Promise.allSettled([
      bench.mirror.write([putOf(objectOf(lost))], isLost),
      bench.mirror.write([putOf(objectOf(held))], () => undefined),
    ]);

    expect(refused).toEqual({ status: 'rejected', reason: new Error('lease lost') });
    expect(written).toEqual({ status: 'fulfilled', value: [{ kind: 'written' }] });
    expect(await bench.fieldsOf(lost)).toBeUndefined();
    expect(await bench.fieldsOf(held)).toBeDefined();
  });

  test.each([
    ['puts of a new object', (id: StripeId, index: number) => putOf(objectOf(id, { name: `n${index}` }))],
    ['parts of a new object', (id: StripeId, index: number) => mergeOf(id, { [`f${index}`]: index })],
    ['confirmations of an unknown object', (id: StripeId) => confirmOf(id)],
  ])('succeeds for one of many %s at the same time', async (_, writeOf) => {
    const id = newId();
    const rivals = Array.from({ length: 20 }, (_each, index) => writeOf(id, index));

    const results = await Promise.all(rivals.map((write) => bench.mirror.write([write])));

    expect(results.flat().filter(({ kind }) => kind === 'written')).toHaveLength(1);
    expect(results.flat().filter(({ kind }) => kind === 'conflict')).toHaveLength(19);
    const winner = rivals[results.findIndex(([result]) => result?.kind === 'written')];
    expect((await headOf(bench.mirror, id))?.writeId).toBe(winner?.writeId);
  });

  test('succeeds for one of many that were decided on the same state', async () => {
    const id = newId();
    await prepare(bench, putOf(objectOf(id)));
    const head = (await headOf(bench.mirror, id))!;
    const rivals = Array.from(
      { length: 20 },
      (_, index) =>
        [
          putOf(changed(id), head),
          mergeOf(id, { [`f${index}`]: index }, head),
          confirmOf(id, head),
          markOf(id, head),
        ][index % 4]!,
    );

    const results = await Promise.all(rivals.map((write) => bench.mirror.write([write])));

    expect(results.flat().filter(({ kind }) => kind === 'written')).toHaveLength(1);
    expect(results.flat().filter(({ kind }) => kind === 'conflict')).toHaveLength(19);
  });
}

const never = new AbortController().signal;

async function headsIn(mirror: Mirror, range: CreatedRange): Promise<ListedHead[]> {
  const heads: ListedHead[] = [];
  for await (const batch of mirror.heads(range, never)) {
    expect(batch.length).toBeGreaterThan(0);
    heads.push(...batch);
  }
  return heads.sort((a, b) => (a.created ?? 0) - (b.created ?? 0));
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

const sorted = <T>(items: Iterable<T>): T[] => [...items].sort();

function describeReads(open: () => Promise<MirrorBench>): void {
  /** One of each state, with `created` from 101 on in the order of the table; parts and tombstones have none. */
  async function oneOfEach(): Promise<MirrorBench & { readonly ids: Readonly<Record<State, StripeId>> }> {
    const bench = await open();
    const ids = Object.fromEntries(stateNames.map((state) => [state, newId()])) as Record<State, StripeId>;
    for (const [index, state] of stateNames.entries()) {
      await bring(bench, ids[state], state);
      const stored = (await bench.mirror.storedOf([ids[state]])).get(ids[state]);
      // A mark of deletion stays.
      if (stored?.fields['created'] !== undefined)
        await prepare(bench, putOf(objectOf(ids[state], { created: 101 + index }), stored.head));
    }
    return { ...bench, ids };
  }

  test('are told by id, those that are not there are left out', async () => {
    const { mirror, ids } = await oneOfEach();

    const heads = await mirror.headsOf(Object.values(ids));

    expect(sorted(heads.keys())).toEqual(sorted(Object.values(ids).filter((id) => id !== ids.nothing)));
    expect(heads.get(ids.part)).toMatchObject({ id: ids.part, created: undefined, hash: undefined });
    expect(await mirror.headsOf([])).toEqual(new Map());
    expect(await mirror.storedOf([ids.nothing])).toEqual(new Map());
    expect((await mirror.headsOf([ids.whole, ids.whole])).size).toBe(1);
  });

  test('are told with all their fields, and the same heads', async () => {
    const { mirror, fieldsOf, ids } = await oneOfEach();

    const stored = await mirror.storedOf(Object.values(ids));

    expect(sorted(stored.keys())).toEqual(sorted(Object.values(ids).filter((id) => id !== ids.nothing)));
    for (const [id, { head, fields }] of stored) {
      expect({ ...head, seenAt: undefined }).toEqual(await headOf(mirror, id));
      expect(fields).toEqual(await fieldsOf(id));
    }
    expect(await mirror.storedOf([])).toEqual(new Map());
  });

  test('keep the times of parts, whoever told them, and the place of a batch', async () => {
    const { mirror } = await open();
    const id = newId();
    const told = ['1.0000', '2.0000'].map((place) => ({
      fields: [`f${place}`, 'a.b', '$x'],
      telling: { ...during(1_000, 1_001), position: `stream:${place}`, isDated: true },
    }));
    const observed = { ...told[0]!.telling, isDated: undefined };
    await prepare({ mirror }, { ...putOf(objectOf(id)), kind: 'put', observed, told } as MirrorWrite);

    expect(await headOf(mirror, id)).toMatchObject({ observed, told });
  });

  test('are told by interval of `created`, deleted ones too, those without it never', async () => {
    const { mirror, ids } = await oneOfEach();
    const hash = expect.any(String) as string;
    const [whole, both, marked, confirmed] = [
      { id: ids.whole, created: 102, hash, deletedBy: undefined },
      { id: ids.both, created: 104, hash, deletedBy: undefined },
      { id: ids.marked, created: 105, hash, deletedBy: 'request' },
      { id: ids.confirmed, created: 106, hash, deletedBy: 'stripe' },
    ];

    expect(await headsIn(mirror, {})).toEqual([whole, both, marked, confirmed]);
    expect(await headsIn(mirror, { gte: 102, lt: 106 })).toEqual([whole, both, marked]);
    expect(await headsIn(mirror, { gte: 105 })).toEqual([marked, confirmed]);
    expect(await headsIn(mirror, { lt: 102 })).toEqual([]);
  });

  test('are told in full where an interval holds thousands, many of one second', async () => {
    const { mirror } = await open();
    const objects = Array.from({ length: 5_000 }, (_, index) =>
      objectOf(newId(), { created: 100 + (index % 3) }),
    );
    for (let start = 0; start < objects.length; start += 1_000) {
      await mirror.write(objects.slice(start, start + 1_000).map((object) => putOf(object)));
    }

    const heads = await headsIn(mirror, { gte: 100, lt: 103 });

    expect(sorted(heads.map(({ id }) => id))).toEqual(sorted(objects.map(({ id }) => id)));
  });

  test('are told until the signal aborts, with its reason', async () => {
    const { mirror } = await oneOfEach();
    const reason = new Error('enough');
    const reading = async (read: (signal: AbortSignal) => AsyncIterable<unknown>): Promise<void> => {
      const stop = new AbortController();
      stop.abort(reason);
      await all(read(stop.signal));
    };

    await expect(reading((signal) => mirror.heads({}, signal))).rejects.toBe(reason);
    await expect(reading((signal) => mirror.withoutCreated(signal))).rejects.toBe(reason);
  });

  test('without a usable `created` are told unless Stripe has confirmed their deletion', async () => {
    const { mirror, ids } = await oneOfEach();
    const [marked, unusable, negative, text] = [newId(), newId(), newId(), newId()];
    await prepare(
      { mirror },
      mergeOf(marked, {}),
      mergeOf(unusable, { created: null }),
      putOf(objectOf(negative, { created: -5 })),
      putOf(objectOf(text, { created: 'today' })),
    );
    await prepare({ mirror }, markOf(marked, (await headOf(mirror, marked))!));

    expect(sorted(await all(mirror.withoutCreated(never)))).toEqual(
      sorted([ids.part, marked, unusable, negative, text]),
    );
  });

  test('may be suspected unless Stripe has confirmed their deletion, or a test clock has them', async () => {
    const { mirror, ids } = await oneOfEach();
    const [onClock, offClock] = [newId(), newId()];
    await mirror.write([
      putOf(objectOf(onClock, { test_clock: 'clock_1' })),
      putOf(objectOf(offClock, { test_clock: null })),
    ]);

    const suspects = await mirror.suspects([...Object.values(ids), onClock, offClock]);

    expect(sorted(suspects)).toEqual(sorted([ids.whole, ids.part, ids.both, ids.marked, offClock]));
    const listed = await mirror.suspects([...Object.values(ids), onClock], { ofTestClocks: true });
    expect(sorted(listed)).toEqual(sorted([ids.whole, ids.part, ids.both, ids.marked, onClock]));
    expect(await mirror.suspects([])).toEqual([]);
  });

  test('are counted but for those with a mark of deletion', async () => {
    const { mirror } = await open();
    expect(await mirror.countLive()).toBe(0);

    expect(await (await oneOfEach()).mirror.countLive()).toBe(3);
  });

  test('prove an account by what a read wrote last, else by what a batch told, both ends in turn', async () => {
    const { mirror, ids } = await oneOfEach();
    const at = (created: number, told = false): { readonly id: StripeId; readonly created: number } => {
      const id = newId();
      const insert = putOf(objectOf(id, { created }));
      writes.push(told ? { ...insert, source: 'batch' } : insert);
      return { id, created };
    };
    const writes: MirrorWrite[] = [];
    const [oldest, newest, next, claimed] = [at(-5), at(300), at(200), at(400, true)];
    const merged = at(350);
    await prepare({ mirror }, ...writes);
    const told = { ...during(2_000, 2_001), position: 'stream:2.0000' };
    await prepare({ mirror }, {
      ...mergeOf(merged.id, { name: 'of a batch' }, await headOf(mirror, merged.id)),
      told: [{ fields: ['name'], telling: told }],
    } as MirrorWrite);
    const [whole, both, marked] = [
      { id: ids.whole, created: 102 },
      { id: ids.both, created: 104 },
      { id: ids.marked, created: 105 },
    ];

    expect(await mirror.samples(10)).toEqual({
      isEmpty: false,
      read: [newest, oldest, next, whole, marked, both],
      told: [claimed, merged],
    });
    expect((await mirror.samples(2)).read).toEqual([newest, oldest]);
    expect(await mirror.samples(10, new Date(1_999))).toEqual({ isEmpty: false, read: [], told: [merged] });
    expect(await (await open()).mirror.samples(10)).toEqual({ isEmpty: true, read: [], told: [] });
  });

  test('show how they are spread over time, deleted ones too', async () => {
    const { mirror } = await oneOfEach();

    expect(sorted(await mirror.sampleCreated(100))).toEqual([102, 104, 105, 106]);
    expect((await mirror.sampleCreated(2)).length).toBeLessThanOrEqual(2);
    expect(await (await open()).mirror.sampleCreated(10)).toEqual([]);
  });
}
