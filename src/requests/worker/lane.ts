// A lane works on up to `capacity` requests at once. It decides when to claim which request. Without a
// backlog it claims the id that woke it, otherwise the oldest that a search finds. It knows nothing of
// requests.
/** Works on what was claimed. Never throws. */
export type Job = () => Promise<void>;

/**
 * `taken`: another process was faster, or it is no longer pending. `rest`: nothing can be claimed now,
 * whatever is pending.
 */
type ClaimResult = Job | 'taken' | 'rest';

export interface LaneOptions<Candidate> {
  /** 1 or more. */
  readonly capacity: number;
  /** The oldest that wait, at least `limit` of them if there are so many. */
  readonly find: (limit: number) => Promise<readonly Candidate[]>;
  readonly claim: (candidate: Candidate) => Promise<ClaimResult>;
  /** A search or a claim failed. The lane rests until it is woken again. */
  readonly onError: (error: unknown) => void;
  /** Random choice among candidates when several processes claim the same ones; 0 to 1. */
  readonly random?: () => number;
}

/** Candidates that a search finds beyond the free places, so that not every claim needs a search. */
const supply = 20;
/** How much further the search goes while others take what was found. */
const maxSpread = 4;

export class Lane<Candidate> {
  readonly #options: LaneOptions<Candidate>;
  readonly #running = new Set<Promise<void>>();
  readonly #claiming = new Set<Promise<void>>();
  #finding: Promise<void> | undefined;
  #candidates: Candidate[] = [];
  /**
   * Requests may be pending that are not candidates yet. A counter, so that a search that started earlier
   * does not clear it.
   */
  #looksAsked = 0;
  #looksDone = 0;
  /**
   * How much further than needed a search goes. Above 1 the lane picks any of the found requests, because
   * others take the oldest.
   */
  #spread = 1;
  #taken = 0;
  #claimed = 0;
  #isClosed = false;

  constructor(options: LaneOptions<Candidate>) {
    this.#options = options;
  }

  /** How many requests are being worked on. */
  get running(): number {
    return this.#running.size;
  }

  /** The candidate waits. It is claimed at once if a place is free, otherwise a search finds it. */
  wake(candidate: Candidate): void {
    if (this.#mayWait || this.#room <= this.#candidates.length) this.look();
    else {
      this.#candidates.push(candidate);
      this.#pump();
    }
  }

  /** Something may wait: claims the oldest until none waits or no place is free. */
  look(): void {
    this.#looksAsked += 1;
    this.#pump();
  }

  /** Stops claiming. What runs goes on. Resolves when no claim is under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#candidates = [];
    await Promise.all([this.#finding, ...this.#claiming]);
  }

  /** Resolves when nothing runs; for after `close`. */
  async idle(): Promise<void> {
    await Promise.all(this.#running);
  }

  get #mayWait(): boolean {
    return this.#looksAsked > this.#looksDone;
  }

  get #room(): number {
    return this.#isClosed ? 0 : this.#options.capacity - this.#running.size - this.#claiming.size;
  }

  /** Starts as many claims as there are candidates and room, and a search when candidates run out. */
  #pump(): void {
    while (this.#room > 0) {
      const candidate = this.#candidates.shift();
      if (candidate === undefined) break;
      const claiming: Promise<void> = this.#claim(candidate).finally(() => {
        this.#claiming.delete(claiming);
        this.#pump();
      });
      this.#claiming.add(claiming);
    }
    if (this.#room > 0 && this.#mayWait && !this.#finding) {
      this.#finding = this.#find().finally(() => {
        this.#finding = undefined;
        this.#pump();
      });
    }
  }

  async #claim(candidate: Candidate): Promise<void> {
    try {
      const result = await this.#options.claim(candidate);
      if (result === 'rest') this.#rest();
      else if (result === 'taken') this.#taken += 1;
      else {
        this.#claimed += 1;
        this.#start(result);
      }
    } catch (error) {
      this.#rest();
      this.#options.onError(error);
    }
  }

  async #find(): Promise<void> {
    const asked = this.#looksAsked;
    const spread = this.#nextSpread();
    const limit = (this.#room + supply) * spread;
    try {
      const found = await this.#options.find(limit);
      if (found.length < limit) this.#looksDone = asked;
      this.#candidates = spread > 1 ? this.#shuffled(found) : [...found];
    } catch (error) {
      this.#rest();
      this.#options.onError(error);
    }
  }

  /** Widens while others take many of the found requests, and narrows when they do not. */
  #nextSpread(): number {
    const isContended = this.#taken * 4 > this.#claimed;
    if (this.#taken + this.#claimed > 0) {
      this.#spread = isContended ? Math.min(this.#spread * 2, maxSpread) : Math.max(this.#spread / 2, 1);
    }
    this.#taken = 0;
    this.#claimed = 0;
    return this.#spread;
  }

  #shuffled(found: readonly Candidate[]): Candidate[] {
    const { random = Math.random } = this.#options;
    return found
      .map((candidate) => ({ candidate, order: random() }))
      .sort((a, b) => a.order - b.order)
      .map(({ candidate }) => candidate);
  }

  /** Until it is woken again. */
  #rest(): void {
    this.#looksDone = this.#looksAsked;
    this.#candidates = [];
  }

  #start(job: Job): void {
    const work: Promise<void> = job().finally(() => {
      this.#running.delete(work);
      this.#pump();
    });
    this.#running.add(work);
  }
}
