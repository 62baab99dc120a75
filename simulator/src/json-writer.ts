// JSON as api.stripe.com writes it, in lines indented by two blanks. Puts a page together as bytes: strings of a page
// would be copied three times, and pages are what scans measure.
/** Where an object stands in an answer: it is the answer, or it is in the `data` of a list. */
export type Place = 'alone' | 'listed';

/** The value as Stripe's answers have it: see the examples of https://docs.stripe.com/api/pagination. */
export function stripeJson(value: unknown): string {
  return JSON.stringify(value, null, 2);
}

/** What `stripeJson` gave, moved to where it stands. Line breaks within strings are escaped, so none is touched. */
export function indented(json: string, place: Place): string {
  return place === 'alone' ? json : json.replaceAll('\n', '\n    ');
}

/** Grows as needed; `take` hands out what was written and starts over. */
export class JsonWriter {
  private target = Buffer.allocUnsafe(128 * 1024);
  private length = 0;

  text(text: string): void {
    // A UTF-16 unit takes three bytes at most.
    this.reserve(text.length * 3);
    this.length += this.target.write(text, this.length, 'utf8');
  }

  /** Copies the bytes and returns where they begin in `bytes`, for fields to be written over. */
  copy(source: Buffer): { bytes: Buffer; at: number } {
    this.reserve(source.length);
    const at = this.length;
    source.copy(this.target, at);
    this.length += source.length;
    return { bytes: this.target, at };
  }

  take(): Buffer {
    const taken = Buffer.from(this.target.subarray(0, this.length));
    this.length = 0;
    return taken;
  }

  private reserve(bytes: number): void {
    if (this.length + bytes <= this.target.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.target.length * 2, this.length + bytes));
    this.target.copy(larger, 0, 0, this.length);
    this.target = larger;
  }
}
