// The port `Mirror` in memory, written from what src/sync/ports.ts says of it and not from the implementation on MongoDB. Where the two
// disagree, one of them or the port's documentation is wrong. An oracle for histories of writes, and a mirror for tests without MongoDB.
import type {
  CreatedRange,
  DeletedBy,
  Head,
  Mirror,
  MirrorWrite,
  MirrorWriteResult,
  Observed,
  StripeId,
  WriteSource,
} from '../../src/sync/ports.js';

/** Never changed: a write puts another one in its place. */
interface Stored {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly hash: string | undefined;
  readonly observed: Observed;
  readonly deletedBy: DeletedBy | undefined;
  readonly source: WriteSource;
}

const maxBytes = 16 * 1024 * 1024;
/** Heads that come at once. */
const batchSize = 100;

export class MemoryMirror implements Mirror {
  readonly #objects = new Map<StripeId, Stored>();

  async *heads({ gte = 0, lt = Infinity }: CreatedRange, signal: AbortSignal) {
    const inRange = this.#heads(({ created }) => created !== undefined && created >= gte && created < lt);
    signal.throwIfAborted();
    for (let start = 0; start < inRange.length; start += batchSize) {
      await turn();
      signal.throwIfAborted();
      yield inRange.slice(start, start + batchSize).map(({ observed, ...listed }) => listed);
    }
  }

  async headsOf(ids: readonly StripeId[]): Promise<Map<StripeId, Head>> {
    await turn();
    const asked = new Set(ids);
    return new Map(this.#heads(({ id }) => asked.has(id)).map((head) => [head.id, head]));
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

  async suspects(ids: readonly StripeId[]): Promise<readonly StripeId[]> {
    await turn();
    return [...new Set(ids)].filter((id) => {
      const stored = this.#objects.get(id);
      return stored && stored.deletedBy !== 'stripe' && (stored.fields['test_clock'] ?? null) === null;
    });
  }

  async countLive(): Promise<number> {
    await turn();
    return this.#heads(({ deletedBy }) => !deletedBy).length;
  }

  async sampleIds(count: number): Promise<readonly StripeId[]> {
    await turn();
    const wasRead = (id: StripeId): boolean => /^(list|retrieve)$/.test(this.#objects.get(id)?.source ?? '');
    return this.#heads(({ id, deletedBy }) => !deletedBy && wasRead(id))
      .sort((a, b) => (b.created ?? -1) - (a.created ?? -1))
      .slice(0, count)
      .map(({ id }) => id);
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
    return [...this.#objects].map(([id, stored]) => headOf(id, stored)).filter(isAsked);
  }

  /** One write, at once. */
  #apply(write: MirrorWrite): MirrorWriteResult {
    const stored = this.#objects.get(write.id);
    const next = after(stored, write);
    if (next === 'conflict' || next === stored) {
      if (stored && carries(stored, write)) return { kind: 'written' };
      return { kind: next === stored ? 'unchanged' : 'conflict' };
    }
    const json = JSON.stringify(next.fields);
    if (Buffer.byteLength(json) > maxBytes)
      return { kind: 'rejected', code: 'document_too_large', message: 'Larger than 16 MB' };
    if (/"[^"]*\\u0000[^"]*":/.test(json))
      return { kind: 'rejected', code: 'unstorable_key', message: 'A key with NUL' };
    this.#objects.set(write.id, next);
    return { kind: 'written' };
  }
}

/** Lets others come between: what an implementation on a server does between two commands. */
const turn = (): Promise<void> => Promise.resolve();

const headOf = (id: StripeId, { fields, hash, observed, deletedBy }: Stored): Head => {
  const { created } = fields;
  return { id, created: typeof created === 'number' ? created : undefined, hash, observed, deletedBy };
};

/** Whether the write has been applied before, by what its object carries. */
function carries({ observed, hash, deletedBy }: Stored, write: MirrorWrite): boolean {
  if (write.kind === 'confirm_deleted') return deletedBy === 'stripe';
  if (write.kind === 'mark_deleted') return deletedBy === 'request';
  const isSameRead =
    observed.from.getTime() === write.observed.from.getTime() &&
    observed.to.getTime() === write.observed.to.getTime();
  return isSameRead && (write.kind === 'merge' || hash === write.hash);
}

/** What is stored after a write whose guard holds; the very same where it changes nothing. */
function after(stored: Stored | undefined, write: MirrorWrite): Stored | 'conflict' {
  const { id, observed, source } = write;
  const { deletedBy } = stored ?? {};
  const isFree = !stored || (deletedBy !== 'stripe' && stored.observed.to <= observed.from);
  switch (write.kind) {
    case 'insert':
      if (stored) return 'conflict';
      return { fields: write.object, hash: write.hash, observed, deletedBy, source };
    case 'replace':
      if (!stored || !isFree) return 'conflict';
      return { fields: write.object, hash: write.hash, observed, deletedBy, source };
    case 'merge': {
      if (!isFree) return 'conflict';
      const fields = { ...stored?.fields, ...write.fields };
      const isSame = stored && JSON.stringify(fields) === JSON.stringify(stored.fields);
      return isSame ? stored : { fields, hash: undefined, observed, deletedBy, source };
    }
    case 'confirm_deleted': {
      if (stored && deletedBy === 'stripe') return stored;
      const fields = stored?.fields ?? { id, object: 'customer', deleted: true };
      return { fields, hash: stored?.hash, observed, deletedBy: 'stripe', source };
    }
    case 'mark_deleted':
      if (!stored || deletedBy) return 'conflict';
      return { ...stored, deletedBy: 'request' };
  }
}
