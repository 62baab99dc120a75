// The port `Mirror` in memory, written from what src/sync/ports.ts says of it and not from the implementation on MongoDB. Where the two
// disagree, one of them or the port's documentation is wrong. An oracle for histories of writes, and a mirror for tests without MongoDB.
import type {
  CreatedRange,
  Head,
  Mirror,
  MirrorWrite,
  MirrorWriteResult,
  ProofSamples,
  Sample,
  Stored,
  StripeId,
  Rejected,
  StripeObject,
  WriteSource,
} from '../../src/sync/ports.js';

/** Never changed: a write puts another one in its place. */
interface Kept extends Stored {
  readonly source: WriteSource;
}

const maxBytes = 16 * 1024 * 1024;
/** Heads that come at once. */
const batchSize = 100;

export class MemoryMirror implements Mirror {
  readonly #objects = new Map<StripeId, Kept>();

  async *heads({ gte = 0, lt = Infinity }: CreatedRange, signal: AbortSignal) {
    const inRange = this.#heads(({ created }) => created !== undefined && created >= gte && created < lt);
    signal.throwIfAborted();
    for (let start = 0; start < inRange.length; start += batchSize) {
      await turn();
      signal.throwIfAborted();
      yield inRange
        .slice(start, start + batchSize)
        .map(({ id, created, hash, deletedBy }) => ({ id, created, hash, deletedBy }));
    }
  }

  async headsOf(ids: readonly StripeId[]): Promise<Map<StripeId, Head>> {
    await turn();
    const asked = new Set(ids);
    return new Map(this.#heads(({ id }) => asked.has(id)).map((head) => [head.id, head]));
  }

  async storedOf(ids: readonly StripeId[]): Promise<Map<StripeId, Stored>> {
    await turn();
    return new Map(ids.flatMap((id) => entryOf(id, this.#objects.get(id))));
  }

  refusalOf(object: StripeObject): Rejected | undefined {
    return refusalOf(object);
  }

  async *withoutCreated(signal: AbortSignal) {
    signal.throwIfAborted();
    for (const { id } of this.#heads(
      ({ created, deletedBy }) => (created === undefined || created < 0) && deletedBy !== 'stripe',
    )) {
      await turn();
      signal.throwIfAborted();
      yield id;
    }
  }

  async write(
    writes: readonly MirrorWrite[],
    beforeSend: () => void = () => undefined,
  ): Promise<readonly MirrorWriteResult[]> {
    await turn();
    beforeSend();
    const results: MirrorWriteResult[] = [];
    for (const write of writes) {
      results.push(this.#apply(write));
      await turn(); // each write is atomic, several are not
    }
    return results;
  }

  async suspects(
    ids: readonly StripeId[],
    { ofTestClocks } = { ofTestClocks: false },
  ): Promise<readonly StripeId[]> {
    await turn();
    return [...new Set(ids)].filter((id) => {
      const stored = this.#objects.get(id);
      const isListed = ofTestClocks || (stored?.fields['test_clock'] ?? null) === null;
      return stored && stored.head.deletedBy !== 'stripe' && isListed;
    });
  }

  async countLive(): Promise<number> {
    await turn();
    return this.#heads(({ deletedBy }) => !deletedBy).length;
  }

  async samples(count: number, after = new Date(-1)): Promise<ProofSamples> {
    await turn();
    const pick = (isRead: boolean): Sample[] => {
      const fit = this.#heads(({ id, created, deletedBy }) => {
        const { source, head } = this.#objects.get(id)!;
        const times = [head.observed, ...head.told.map(({ telling }) => telling)].map(
          (each) => each?.to ?? 0,
        );
        return (
          created !== undefined &&
          deletedBy !== 'stripe' &&
          times.some((to) => to > after) &&
          (source === 'list' || source === 'retrieve') === isRead
        );
      })
        .map(({ id, created }): Sample => ({ id, created: created! }))
        .sort((a, b) => b.created - a.created || (a.id < b.id ? 1 : -1));
      const inTurn = fit.flatMap((newest, place) => [newest, fit[fit.length - 1 - place]!]);
      return [...new Set(inTurn)].slice(0, count);
    };
    return { isEmpty: this.#objects.size === 0, read: pick(true), told: pick(false) };
  }

  async sampleCreated(count: number): Promise<readonly number[]> {
    await turn();
    return this.#heads(() => true)
      .map((head) => ({ head, place: Math.random() }))
      .sort((a, b) => a.place - b.place)
      .slice(0, count)
      .flatMap(({ head }) => head.created ?? []);
  }

  /** Stripe's fields of a stored object. */
  fieldsOf(id: StripeId): object | undefined {
    return this.#objects.get(id)?.fields;
  }

  #heads(isAsked: (head: Head) => boolean): Head[] {
    return [...this.#objects.values()].map(({ head }) => head).filter(isAsked);
  }

  /** One write, at once. */
  #apply(write: MirrorWrite): MirrorWriteResult {
    const stored = this.#objects.get(write.id);
    if (stored?.head.writeId === write.writeId) return { kind: 'written' };
    if (stored?.head.writeId !== write.basis?.writeId) return { kind: 'conflict' };
    const next = after(stored, write);
    const refusal = refusalOf(next.fields);
    if (refusal) return refusal;
    this.#objects.set(write.id, next);
    return { kind: 'written' };
  }
}

function refusalOf(fields: object): Rejected | undefined {
  const json = JSON.stringify(fields);
  if (Buffer.byteLength(json) > maxBytes)
    return { kind: 'rejected', code: 'document_too_large', message: 'Larger than 16 MB' };
  return /"[^"]*\\u0000[^"]*":/.test(json)
    ? { kind: 'rejected', code: 'unstorable_key', message: 'A key with NUL' }
    : undefined;
}

/** Lets others come between: what an implementation on a server does between two commands. */
const turn = (): Promise<void> => Promise.resolve();

const entryOf = (id: StripeId, kept: Kept | undefined): [StripeId, Stored][] =>
  kept ? [[id, { head: kept.head, fields: kept.fields }]] : [];

const nothing = { created: undefined, hash: undefined, observed: undefined, deletedBy: undefined, told: [] };

/** What is stored after a write whose guard holds. */
function after(stored: Kept | undefined, write: MirrorWrite): Kept {
  const { id, writeId, source } = write;
  const head: Head = { ...(stored?.head ?? { id, ...nothing }), writeId, writtenAt: new Date() };
  const fields = stored?.fields ?? {};
  switch (write.kind) {
    case 'put': {
      const { object, hash, observed, told } = write;
      return { head: { ...head, created: createdOf(object), hash, observed, told }, fields: object, source };
    }
    case 'merge': {
      const merged = { ...fields, ...write.fields };
      const hash = write.keepsHash ? head.hash : undefined;
      return {
        head: { ...head, created: createdOf(merged), hash, told: write.told },
        fields: merged,
        source,
      };
    }
    case 'confirm_deleted':
      return {
        head: { ...head, observed: write.observed, told: [], deletedBy: 'stripe' },
        fields: stored ? fields : { id, object: 'customer', deleted: true },
        source,
      };
    case 'mark_deleted':
      return { head: { ...head, deletedBy: 'request' }, fields, source: stored?.source ?? source };
  }
}

const createdOf = ({ created }: Stored['fields']): number | undefined =>
  typeof created === 'number' ? created : undefined;
