// The greatest of the values seen of late, in a memory of two numbers.

export class RecentMost {
  #most = 0;
  #mostBefore = 0;
  #sinceMs = -Infinity;

  /**
   * @param rememberedMs how long a value counts; it may do so twice as long
   * @param now milliseconds, from any start
   */
  constructor(
    private readonly rememberedMs: number,
    private readonly now: () => number,
  ) {}

  saw(value: number): void {
    this.#turn();
    this.#most = Math.max(this.#most, value);
  }

  /** 0 where none was seen. */
  get value(): number {
    this.#turn();
    return Math.max(this.#most, this.#mostBefore);
  }

  #turn(): void {
    const passedMs = this.now() - this.#sinceMs;
    if (passedMs < this.rememberedMs) return;
    this.#mostBefore = passedMs < 2 * this.rememberedMs ? this.#most : 0;
    this.#most = 0;
    this.#sinceMs = this.now();
  }
}
