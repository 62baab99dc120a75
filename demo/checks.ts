// What the demo claims, checked as it goes: it exits 0 only if every number was as it had to be.
import { isDeepStrictEqual } from 'node:util';

export class Checks {
  readonly failures: string[] = [];
  #passed = 0;

  /** Prints the claim with a mark, and remembers it when it does not hold. */
  equal(claim: string, found: unknown, wanted: unknown): void {
    const holds = isDeepStrictEqual(found, wanted);
    const line = holds
      ? claim
      : `${claim}: expected ${JSON.stringify(wanted)}, found ${JSON.stringify(found)}`;
    process.stdout.write(`  ${holds ? '✓' : '✗'} ${line}\n`);
    if (holds) this.#passed += 1;
    else this.failures.push(line);
  }

  summary(): string {
    const { length } = this.failures;
    return length === 0
      ? `All ${this.#passed} numbers were as they had to be.`
      : `${length} of ${this.#passed + length} numbers were wrong:\n  ${this.failures.join('\n  ')}`;
  }
}
