// A lane works on up to `capacity` requests at once. It decides when to claim and by what: the id that woke it while nothing else is known
// to wait, otherwise the oldest. It knows nothing of requests.

/** Works on what was claimed. Never throws. */
export type Job = () => Promise<void>;

export interface LaneOptions<Wake> {
  /** 1 or more. */
  readonly capacity: number;
  /** Claims by what woke the lane, or without it the oldest that waits; nothing when there is none. */
  readonly next: (wake: Wake | undefined) => Promise<Job | undefined>;
  /** A claim failed. The lane rests until it is woken again. */
  readonly onError: (error: unknown) => void;
}

/** Wake-ups kept while a claim is under way; what comes beside them is found by looking. */
const maxWakes = 100;

export class Lane<Wake> {
  readonly #running = new Set<Promise<void>>();
  #wakes: Wake[] = [];
  /** Something may wait that no wake-up names. Counted, so that a search that began before does not clear it. */
  #looksAsked = 0;
  #looksDone = 0;
  #pumping: Promise<void> | undefined;
  #isClosed = false;

  constructor(private readonly options: LaneOptions<Wake>) {}

  /** How many requests are being worked on. */
  get running(): number {
    return this.#running.size;
  }

  /** This one waits. Taken at once where there is room, otherwise found by looking. */
  wake(wake: Wake): void {
    const isBusy = this.#running.size >= this.options.capacity || this.#wakes.length >= maxWakes;
    if (isBusy || this.#mayWait) this.look();
    else {
      this.#wakes.push(wake);
      this.#pump();
    }
  }

  /** Something may wait: claims the oldest until there is none or no room. */
  look(): void {
    this.#looksAsked += 1;
    this.#wakes = [];
    this.#pump();
  }

  /** Claims nothing any more. What runs goes on. Resolves when no claim is under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wakes = [];
    await this.#pumping;
  }

  /** Resolves when nothing runs; for after `close`. */
  async idle(): Promise<void> {
    await Promise.all(this.#running);
  }

  get #mayWait(): boolean {
    return this.#looksAsked > this.#looksDone;
  }

  get #hasWork(): boolean {
    return this.#mayWait || this.#wakes.length > 0;
  }

  get #hasRoom(): boolean {
    return !this.#isClosed && this.#running.size < this.options.capacity;
  }

  /** One claim at a time: claims of one process would only collide. */
  #pump(): void {
    this.#pumping ??= this.#claimAll().finally(() => {
      this.#pumping = undefined;
      // Woken between the last look and here.
      if (this.#hasRoom && this.#hasWork) this.#pump();
    });
  }

  async #claimAll(): Promise<void> {
    try {
      while (this.#hasRoom && this.#hasWork) {
        const asked = this.#looksAsked;
        const wake = this.#mayWait ? undefined : this.#wakes.shift();
        const job = await this.options.next(wake);
        if (job) this.#start(job);
        else if (wake === undefined) this.#looksDone = asked;
      }
    } catch (error) {
      this.#looksDone = this.#looksAsked;
      this.#wakes = [];
      this.options.onError(error);
    }
  }

  #start(job: Job): void {
    const work = job().finally(() => {
      this.#running.delete(work);
      if (this.#hasRoom && this.#hasWork) this.#pump();
    });
    this.#running.add(work);
  }
}
