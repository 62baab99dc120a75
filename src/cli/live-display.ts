// Lines on a terminal that are drawn again in the same place.
import type { Screen, Terminal } from './terminal.js';
import { cut, plain } from './table.js';

const escape = '\u{1b}[';
const hideCursor = `${escape}?25l`;
const showCursor = `${escape}?25h`;
const clearBelow = `${escape}0J`;

export class LiveDisplay {
  readonly #screen: Screen;
  readonly #giveWay: () => void;
  #drawn = 0;

  constructor(terminal: Terminal, screen: Screen) {
    this.#screen = screen;
    this.#giveWay = terminal.makeWay(() => this.#clear());
    screen.write(hideCursor);
  }

  /** In place of what was drawn before; what does not fit is left out. */
  draw(lines: readonly string[]): void {
    const { columns, rows } = this.#screen;
    const shown = lines.slice(0, Math.max(1, rows - 1)).map((line) => cut(plain(line), columns - 1));
    this.#clear();
    this.#screen.write(`${shown.join('\n')}\n`);
    this.#drawn = shown.length;
  }

  /** Leaves what was drawn last. */
  end(): void {
    this.#giveWay();
    this.#screen.write(showCursor);
  }

  #clear(): void {
    if (this.#drawn > 0) this.#screen.write(`${escape}${this.#drawn}A\r${clearBelow}`);
    this.#drawn = 0;
  }
}
