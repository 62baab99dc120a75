// Records in Stripe's order of lists: by `created`, then by the order they were made in. Numbers only; what a record
// is, its owner knows.
/** Bounds on `created`, both ends included. */
export interface CreatedRange {
  from: number;
  to: number;
}

export interface WalkOptions {
  range: CreatedRange;
  /** Record the walk starts from. Without one, at the newest of the range. */
  cursor?: number;
  /** Towards older records (the usual) or, for `ending_before`, towards newer ones. */
  towards: 'older' | 'newer';
  /** Lets the walk begin with the cursor's own record. Default false. */
  inclusive?: boolean;
  limit: number;
  matches(record: number): boolean;
}

export interface Walk {
  /** Newest first, whatever the direction. */
  records: number[];
  hasMore: boolean;
}

/** Positions run from the oldest (0) to the newest. Record numbers are handed out from 0 on and never reused. */
export class CreationOrder {
  private created = new Uint32Array(1024);
  private order = new Uint32Array(1024);
  private count = 0;

  get length(): number {
    return this.count;
  }

  createdOf(record: number): number {
    return this.created[record] ?? 0;
  }

  recordAt(position: number): number {
    return this.order[position] ?? 0;
  }

  /** Adds one record and returns its number. Cheap when it is the newest, a copy of what is newer otherwise. */
  add(created: number): number {
    this.reserve(this.count + 1);
    const record = this.count;
    const position = this.firstAtOrAfter(created + 1);
    this.order.copyWithin(position + 1, position, this.count);
    this.created[record] = created;
    this.order[position] = record;
    this.count += 1;
    return record;
  }

  /** Adds many at once; `sorted` must ascend. Returns the number of the first. */
  addSorted(sorted: Uint32Array): number {
    const first = this.count;
    const total = first + sorted.length;
    this.reserve(total);
    this.created.set(sorted, first);
    let old = first - 1;
    let added = sorted.length - 1;
    // Merged from the newest down, in place: of equal seconds, the one made later is the newer.
    for (let position = total - 1; added >= 0; position -= 1) {
      const record = this.recordAt(old);
      if (old >= 0 && this.createdOf(record) > (sorted[added] ?? 0)) {
        this.order[position] = record;
        old -= 1;
      } else {
        this.order[position] = first + added;
        added -= 1;
      }
    }
    this.count = total;
    return first;
  }

  /** Where the record stands among all. */
  positionOf(record: number): number {
    const created = this.createdOf(record);
    let low = this.firstAtOrAfter(created);
    let high = this.firstAtOrAfter(created + 1);
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.recordAt(middle) < record) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** One page. A cursor outside the range still says where to start: filter and position apply both. */
  walk(options: WalkOptions): Walk {
    const oldest = this.firstAtOrAfter(options.range.from);
    const newest = this.firstAtOrAfter(options.range.to + 1) - 1;
    const step = options.towards === 'older' ? -1 : 1;
    const records: number[] = [];
    let position = this.start(options, oldest, newest, step);
    for (; position >= oldest && position <= newest; position += step) {
      const record = this.recordAt(position);
      if (!options.matches(record)) continue;
      if (records.length === options.limit) break;
      records.push(record);
    }
    const hasMore = position >= oldest && position <= newest;
    if (step === 1) records.reverse();
    return { records, hasMore };
  }

  private start(options: WalkOptions, oldest: number, newest: number, step: number): number {
    if (options.cursor === undefined) return step === -1 ? newest : oldest;
    const next = this.positionOf(options.cursor) + (options.inclusive === true ? 0 : step);
    return step === -1 ? Math.min(next, newest) : Math.max(next, oldest);
  }

  /** The first position whose record was created at or after the second. */
  private firstAtOrAfter(second: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.createdOf(this.recordAt(middle)) < second) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  private reserve(count: number): void {
    if (count <= this.created.length) return;
    const size = Math.max(count, Math.ceil(this.created.length * 1.5));
    this.created = grown(this.created, size);
    this.order = grown(this.order, size);
  }
}

function grown(array: Uint32Array, size: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(size);
  larger.set(array);
  return larger;
}
