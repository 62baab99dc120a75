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

export interface MirrorBench {
  readonly mirror: Mirror;
  /** Stripe's fields of the stored object, whole; undefined where nothing is stored. */
  readonly fieldsOf: (id: StripeId) => Promise<object | undefined>;
}

/** Registers the suite. @param open gives an empty mirror, another one at each call; it is called in hooks and tests */
export function describeMirror(open: () => Promise<MirrorBench>): void {
  describe('each write, on each stored state', () => describeGuards(open));
  describe('a write', () => describeWrites(open));
  describe('the objects stored', () => describeReads(open));
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

const insertOf = (object: StripeObject, observed = during(1_000, 1_100)): MirrorWrite => ({
  kind: 'insert',
  id: object.id,
  object,
  hash: hashOf(object),
  observed,
  source: 'list',
});
const replaceOf = (object: StripeObject, observed: Observed): MirrorWrite => ({
  kind: 'replace',
  id: object.id,
  object,
  hash: hashOf(object),
  observed,
  source: 'list',
});
const mergeOf = (id: StripeId, fields: object, at: number): MirrorWrite => ({
  kind: 'merge',
  id,
  fields: { id, ...fields },
  observed: during(at),
  source: 'batch',
});
const confirmOf = (id: StripeId, observed = during(1_000, 1_100)): MirrorWrite => ({
  kind: 'confirm_deleted',
  id,
  observed,
  source: 'retrieve',
});
const markOf = (id: StripeId, at = 1_200): MirrorWrite => ({
  kind: 'mark_deleted',
  id,
  observed: during(at),
  source: 'request',
});
/** Any text that two objects share only if they are equal. */
const hashOf = (object: StripeObject): string => `hash of ${JSON.stringify(object)}`;

/** How an object may be stored, and the writes that bring it there. All but a marked one were observed from 1,000 to 1,100. */
const states = {
  nothing: () => [],
  whole: (id) => [insertOf(objectOf(id))],
  part: (id) => [mergeOf(id, { name: 'stored' }, 1_100)],
  marked: (id) => [insertOf(objectOf(id)), markOf(id)],
  confirmed: (id) => [insertOf(objectOf(id), during(500, 510)), confirmOf(id)],
  tombstone: (id) => [confirmOf(id)],
} as const satisfies Record<string, (id: StripeId) => readonly MirrorWrite[]>;

type State = keyof typeof states;
type Kind = MirrorWriteResult['kind'];

const changed = (id: StripeId): StripeObject => objectOf(id, { name: 'changed', email: null });

const writes: Readonly<Record<string, (id: StripeId) => MirrorWrite>> = {
  insert: (id) => insertOf(changed(id), during(1_100, 1_200)),
  'replace, read after it': (id) => replaceOf(changed(id), during(1_101, 1_200)),
  'replace, let go as it was answered': (id) => replaceOf(changed(id), during(1_100, 1_200)),
  'replace, overlapping': (id) => replaceOf(changed(id), during(1_050, 1_150)),
  'replace, read before it': (id) => replaceOf(changed(id), during(900, 950)),
  'merge of a change, later': (id) => mergeOf(id, { name: 'changed', phone: '1' }, 1_101),
  'merge of what is stored, later': (id) => mergeOf(id, { name: 'stored' }, 1_101),
  'merge of a change, earlier': (id) => mergeOf(id, { name: 'changed' }, 1_099),
  'merge of what is stored, earlier': (id) => mergeOf(id, { name: 'stored' }, 1_099),
  'confirmed deletion, read after it': (id) => confirmOf(id, during(2_000, 2_010)),
  'confirmed deletion, read before it': (id) => confirmOf(id, during(100, 110)),
  'mark of a request, later': (id) => markOf(id, 2_000),
  'mark of a request, earlier': (id) => markOf(id, 100),
};

/** The result of each write on each stored state. */
const guards = `
                                    | nothing  | whole     | part      | marked    | confirmed | tombstone
insert                              | written  | conflict  | conflict  | conflict  | conflict  | conflict
replace, read after it              | conflict | written   | written   | written   | conflict  | conflict
replace, let go as it was answered  | conflict | written   | written   | written   | conflict  | conflict
replace, overlapping                | conflict | conflict  | conflict  | conflict  | conflict  | conflict
replace, read before it             | conflict | conflict  | conflict  | conflict  | conflict  | conflict
merge of a change, later            | written  | written   | written   | written   | conflict  | conflict
merge of what is stored, later      | written  | unchanged | unchanged | unchanged | conflict  | conflict
merge of a change, earlier          | written  | conflict  | conflict  | conflict  | conflict  | conflict
merge of what is stored, earlier    | written  | conflict  | conflict  | conflict  | conflict  | conflict
confirmed deletion, read after it   | written  | written   | written   | written   | written   | written
confirmed deletion, read before it  | written  | written   | written   | written   | written   | written
mark of a request, later            | conflict | written   | written   | written   | conflict  | conflict
mark of a request, earlier          | conflict | written   | written   | written   | conflict  | conflict
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

interface Stored {
  readonly head: Head | undefined;
  readonly fields: object | undefined;
}

const read = async ({ mirror, fieldsOf }: MirrorBench, id: StripeId): Promise<Stored> => ({
  head: (await mirror.headsOf([id])).get(id),
  fields: await fieldsOf(id),
});

/** Writes one after the other, each of which must be applied. */
async function prepare({ mirror }: MirrorBench, writes: readonly MirrorWrite[]): Promise<void> {
  for (const write of writes) expect(await mirror.write([write])).toEqual([{ kind: 'written' }]);
}

/** What is stored after a write that was applied. */
function applied(before: Stored, write: MirrorWrite): Stored {
  const { head, fields } = before;
  const { id, observed } = write;
  const createdOf = (stored: object): number | undefined => (stored as { created?: number }).created;
  switch (write.kind) {
    case 'insert':
    case 'replace': {
      const { object, hash } = write;
      const created = createdOf(object);
      return { head: { id, created, hash, observed, deletedBy: head?.deletedBy }, fields: object };
    }
    case 'merge': {
      const merged = { ...fields, ...write.fields };
      const created = createdOf(merged);
      return { head: { id, created, hash: undefined, observed, deletedBy: head?.deletedBy }, fields: merged };
    }
    case 'confirm_deleted':
      if (head?.deletedBy === 'stripe') return before;
      return {
        head: { id, created: head?.created, hash: head?.hash, observed, deletedBy: 'stripe' },
        fields: fields ?? { id, object: 'customer', deleted: true },
      };
    case 'mark_deleted':
      return { head: head && { ...head, deletedBy: 'request' }, fields };
  }
}

function describeGuards(open: () => Promise<MirrorBench>): void {
  let bench: MirrorBench;
  beforeAll(async () => {
    bench = await open();
  });

  test.each(cases)('$name on $state: $result', async ({ name, state, result }) => {
    const id = newId();
    await prepare(bench, states[state](id));
    const before = await read(bench, id);
    const write = writes[name]!(id);

    const results = await bench.mirror.write([write]);

    expect(results).toEqual([{ kind: result }]);
    expect(await read(bench, id)).toEqual(result === 'written' ? applied(before, write) : before);
  });

  test.each(cases.filter(({ result }) => result === 'written'))(
    '$name on $state, sent again after a lost acknowledgement, counts as written and changes nothing',
    async ({ name, state }) => {
      const id = newId();
      const write = writes[name]!(id);
      await prepare(bench, [...states[state](id), write]);
      const after = await read(bench, id);

      expect(await bench.mirror.write([write])).toEqual([{ kind: 'written' }]);

      expect(await read(bench, id)).toEqual(after);
    },
  );
}

function describeWrites(open: () => Promise<MirrorBench>): void {
  let bench: MirrorBench;
  beforeAll(async () => {
    bench = await open();
  });

  test('has its result in its own place, whatever becomes of the others', async () => {
    const [known, fresh, deleted, missing] = [newId(), newId(), newId(), newId()];
    await prepare(bench, [insertOf(objectOf(known)), insertOf(objectOf(deleted)), confirmOf(deleted)]);

    const results = await bench.mirror.write([
      mergeOf(known, { name: 'stored' }, 2_000),
      insertOf(objectOf(fresh)),
      replaceOf(changed(deleted), during(2_000, 2_010)),
      markOf(missing),
    ]);

    expect(results.map(({ kind }) => kind)).toEqual(['unchanged', 'written', 'conflict', 'conflict']);
  });

  test('of nothing has no results', async () => {
    expect(await bench.mirror.write([])).toEqual([]);
  });

  test('keeps every field as it is: empty objects, null, unknown ones, and such as look like commands', async () => {
    const fields = { metadata: {}, address: null, $set: { 'a.b': ['$$ROOT', {}] }, of_tomorrow: [[null]] };
    const [whole, part] = [newId(), newId()];

    await prepare(bench, [insertOf(objectOf(whole, fields)), mergeOf(part, fields, 1_000)]);
    await prepare(bench, [replaceOf(objectOf(whole, { ...fields, more: true }), during(2_000, 2_010))]);

    expect(await bench.fieldsOf(whole)).toStrictEqual({ ...objectOf(whole, fields), more: true });
    expect(await bench.fieldsOf(part)).toStrictEqual({ id: part, ...fields });
  });

  test('merges fields at the top level alone: what is below is replaced', async () => {
    const id = newId();
    await prepare(bench, [insertOf(objectOf(id, { metadata: { a: '1', b: '2' } }))]);

    await prepare(bench, [mergeOf(id, { metadata: { b: '3' } }, 2_000)]);

    expect(await bench.fieldsOf(id)).toEqual(objectOf(id, { metadata: { b: '3' } }));
  });

  test.each([{}, { _bsontype: 'ObjectId' }])(
    'of an object of more than 16 MB is rejected alone: %j',
    async (metadata) => {
      const [large, fresh] = [newId(), newId()];

      const results = await bench.mirror.write([
        insertOf(objectOf(large, { metadata, blob: 'x'.repeat(17 * 1024 * 1024) })),
        insertOf(objectOf(fresh)),
      ]);

      expect(results).toEqual([
        { kind: 'rejected', code: 'document_too_large', message: expect.any(String) as string },
        { kind: 'written' },
      ]);
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
      insertOf(objectOf(id, fields('ObjectId'))),
      insertOf(objectOf(newId())),
    ]);
    expect(await bench.fieldsOf(id)).toEqual(objectOf(id, fields('ObjectId')));
    const replaced = await bench.mirror.write([
      replaceOf(objectOf(id, fields('Long')), during(2_000, 2_010)),
      insertOf(objectOf(newId())),
    ]);
    expect(await bench.fieldsOf(id)).toEqual(objectOf(id, fields('Long')));
    const merged = await bench.mirror.write([
      mergeOf(id, fields('Binary'), 3_000),
      insertOf(objectOf(newId())),
    ]);
    expect(await bench.fieldsOf(id)).toEqual(objectOf(id, fields('Binary')));

    const written = [{ kind: 'written' }, { kind: 'written' }];
    expect([inserted, replaced, merged]).toEqual([written, written, written]);
  });

  test('of an object with NUL in a key is rejected alone, by name', async () => {
    const [odd, deep, fresh] = [newId(), newId(), newId()];

    const results = await bench.mirror.write([
      insertOf(objectOf(odd, { metadata: { 'a\0b': '1' } })),
      insertOf(objectOf(deep, { list: [{ _bsontype: 'ObjectId', inner: { '\0': 1 } }] })),
      insertOf(objectOf(fresh, { metadata: { text: 'a\0b' } })),
    ]);

    const rejected = { kind: 'rejected', code: 'unstorable_key', message: expect.any(String) as string };
    expect(results).toEqual([rejected, rejected, { kind: 'written' }]);
    expect(await bench.fieldsOf(odd)).toBeUndefined();
    expect(await bench.fieldsOf(fresh)).toEqual(objectOf(fresh, { metadata: { text: 'a\0b' } }));
  });

  test('is not sent where `beforeSend` throws, and that is thrown', async () => {
    const [lost, held] = [newId(), newId()];

    const isLost = (): void => {
      throw new Error('lease lost');
    };

    const [refused, written] = await Promise.allSettled([
      bench.mirror.write([insertOf(objectOf(lost))], isLost),
      bench.mirror.write([insertOf(objectOf(held))], () => undefined),
    ]);

    expect(refused).toEqual({ status: 'rejected', reason: new Error('lease lost') });
    expect(written).toEqual({ status: 'fulfilled', value: [{ kind: 'written' }] });
    expect(await bench.fieldsOf(lost)).toBeUndefined();
    expect(await bench.fieldsOf(held)).toBeDefined();
  });

  test('of a new object succeeds once, however many insert it at the same time', async () => {
    const id = newId();
    const rivals = Array.from({ length: 20 }, (_, index) =>
      insertOf(objectOf(id, { name: `n${index}` }), during(1_000 + index * 100, 1_050 + index * 100)),
    );

    const results = await Promise.all(rivals.map((write) => bench.mirror.write([write])));

    expect(results.flat().filter(({ kind }) => kind === 'written')).toHaveLength(1);
    expect(results.flat().filter(({ kind }) => kind === 'conflict')).toHaveLength(19);
  });

  test('that is newer wins over older ones, in whatever order they arrive', async () => {
    const id = newId();
    await prepare(bench, [insertOf(objectOf(id), during(0, 10))]);
    const rivals = Array.from({ length: 20 }, (_, index) => {
      const from = 1_000 + ((index * 7) % 20) * 100;
      return replaceOf(objectOf(id, { name: `n${from}` }), during(from, from + 50));
    });

    const results = await Promise.all(rivals.map((write) => bench.mirror.write([write])));

    expect(await bench.fieldsOf(id)).toMatchObject({ name: 'n2900' });
    expect(new Set(results.flat().map(({ kind }) => kind))).not.toContain('rejected');
  });

  test('of a part is told as lost or is there, however many merge parts of one moment at the same time', async () => {
    const id = newId();
    const merges = Array.from({ length: 20 }, (_, index) => mergeOf(id, { [`f${index}`]: index }, 1_000));
    await prepare(bench, [mergeOf(id, {}, 1_000)]);

    const results = await Promise.all(merges.map((write) => bench.mirror.write([write])));

    const written = results.flatMap(([result], index) => (result?.kind === 'written' ? [`f${index}`] : []));
    expect(Object.keys((await bench.fieldsOf(id))!).sort()).toEqual(['id', ...written].sort());
    expect(written.length).toBeGreaterThan(0);
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
    const entries = Object.entries(states).map(([state, writesOf], index) => {
      const id = newId();
      const created = 101 + index;
      const writes = writesOf(id).map((write) =>
        write.kind === 'insert' ? insertOf({ ...write.object, created }, write.observed) : write,
      );
      return { state, id, writes };
    });
    for (const { writes } of entries) await prepare(bench, writes);
    const ids = Object.fromEntries(entries.map(({ state, id }) => [state, id])) as Record<State, StripeId>;
    return { ...bench, ids };
  }

  test('are told by id, those that are not there are left out', async () => {
    const { mirror, ids } = await oneOfEach();

    const heads = await mirror.headsOf(Object.values(ids));

    expect(sorted(heads.keys())).toEqual(sorted(Object.values(ids).filter((id) => id !== ids.nothing)));
    expect(heads.get(ids.part)).toEqual({
      id: ids.part,
      created: undefined,
      hash: undefined,
      observed: during(1_100),
      deletedBy: undefined,
    });
    expect(await mirror.headsOf([])).toEqual(new Map());
    expect((await mirror.headsOf([ids.whole, ids.whole])).size).toBe(1);
  });

  test('are told by interval of `created`, deleted ones too, those without it never', async () => {
    const { mirror, ids } = await oneOfEach();
    const hash = expect.any(String) as string;
    const [whole, marked, confirmed] = [
      { id: ids.whole, created: 102, hash, deletedBy: undefined },
      { id: ids.marked, created: 104, hash, deletedBy: 'request' },
      { id: ids.confirmed, created: 105, hash, deletedBy: 'stripe' },
    ];

    expect(await headsIn(mirror, {})).toEqual([whole, marked, confirmed]);
    expect(await headsIn(mirror, { gte: 102, lt: 105 })).toEqual([whole, marked]);
    expect(await headsIn(mirror, { gte: 103 })).toEqual([marked, confirmed]);
    expect(await headsIn(mirror, { lt: 102 })).toEqual([]);
  });

  test('are told in full where an interval holds thousands, many of one second', async () => {
    const { mirror } = await open();
    const objects = Array.from({ length: 5_000 }, (_, index) =>
      objectOf(newId(), { created: 100 + (index % 3) }),
    );
    for (let start = 0; start < objects.length; start += 1_000) {
      await mirror.write(objects.slice(start, start + 1_000).map((object) => insertOf(object)));
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
    await mirror.write([
      mergeOf(marked, {}, 1_000),
      mergeOf(unusable, { created: null }, 1_000),
      insertOf(objectOf(negative, { created: -5 })),
      insertOf(objectOf(text, { created: 'today' })),
    ]);
    await mirror.write([markOf(marked)]);

    expect(sorted(await all(mirror.withoutCreated(never)))).toEqual(
      sorted([ids.part, marked, unusable, negative, text]),
    );
  });

  test('may be suspected unless Stripe has confirmed their deletion, or a test clock has them', async () => {
    const { mirror, ids } = await oneOfEach();
    const [onClock, offClock] = [newId(), newId()];
    await mirror.write([
      insertOf(objectOf(onClock, { test_clock: 'clock_1' })),
      insertOf(objectOf(offClock, { test_clock: null })),
    ]);

    const suspects = await mirror.suspects([...Object.values(ids), onClock, offClock]);

    expect(sorted(suspects)).toEqual(sorted([ids.whole, ids.part, ids.marked, offClock]));
    expect(await mirror.suspects([])).toEqual([]);
  });

  test('are counted but for those with a mark of deletion', async () => {
    const { mirror } = await open();
    expect(await mirror.countLive()).toBe(0);

    expect(await (await oneOfEach()).mirror.countLive()).toBe(2);
  });

  test('prove an account where they live and were last written by a read, the newest first', async () => {
    const { mirror, ids } = await oneOfEach();
    const [older, newer, claimed] = [newId(), newId(), newId()];
    const batch = { ...insertOf(objectOf(claimed, { created: 400 })), source: 'batch' } as const;
    await prepare({ mirror } as MirrorBench, [
      insertOf(objectOf(older, { created: 200 })),
      insertOf(objectOf(newer, { created: 300 })),
      batch,
    ]);
    const merged = newId();
    await prepare({ mirror } as MirrorBench, [
      insertOf(objectOf(merged, { created: 350 })),
      mergeOf(merged, { name: 'of a batch' }, 2_000),
    ]);

    expect(await mirror.sampleIds(10)).toEqual([newer, older, ids.whole]);
    expect(await mirror.sampleIds(2)).toEqual([newer, older]);
  });

  test('show how they are spread over time, deleted ones too', async () => {
    const { mirror } = await oneOfEach();

    expect(sorted(await mirror.sampleCreated(100))).toEqual([102, 104, 105]);
    expect((await mirror.sampleCreated(2)).length).toBeLessThanOrEqual(2);
    expect(await (await open()).mirror.sampleCreated(10)).toEqual([]);
  });
}
