// The output of a command: results go to stdout, and notes for a person go to stderr.
import { cut, plain, printable } from './table.js';

export interface Terminal {
  /** One or more lines of the command's result. */
  result(text: string): void;
  /** One or more lines for the person who waits. */
  note(text: string): void;
  /**
   * Calls `aside` before each note, to clear the last line of the screen. Returns a function that ends this.
   */
  makeWay(aside: () => void): () => void;
  readonly stdin: NodeJS.ReadableStream;
  readonly stderr: NodeJS.WriteStream;
  /** Where the result goes, if somebody looks at it: a terminal. */
  readonly screen: Screen | undefined;
}

export interface Screen {
  /** As they are now. */
  readonly columns: number;
  readonly rows: number;
  /** Writes the text unchanged, control characters included. */
  write(text: string): void;
}

export function processTerminal(): Terminal {
  const { stdin, stdout, stderr } = process;
  const asides = new Set<() => void>();
  // A reader that closes the pipe early (`| head`) is not a fault.
  for (const stream of [stdout, stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }
  return {
    stdin,
    stderr,
    screen: stdout.isTTY ? screenOf(stdout) : undefined,
    // Requests are untrusted input: their control characters must not reach the terminal.
    result: (text) => void stdout.write(`${printable(text)}\n`),
    note: (text) => {
      for (const aside of asides) aside();
      stderr.write(`${printable(text)}\n`);
    },
    makeWay: (aside) => {
      asides.add(aside);
      return () => void asides.delete(aside);
    },
  };
}

const screenOf = (stdout: NodeJS.WriteStream): Screen => ({
  get columns() {
    return stdout.columns;
  },
  get rows() {
    return stdout.rows;
  },
  write: (text) => void stdout.write(text),
});

// Lines on a terminal that are drawn again in the same place.
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

  /** Replaces the previous drawing; lines that do not fit are omitted. */
  draw(lines: readonly string[]): void {
    const { columns, rows } = this.#screen;
    const shown = lines.slice(0, Math.max(1, rows - 1)).map((line) => cut(plain(line), columns - 1));
    this.#clear();
    this.#screen.write(`${shown.join('\n')}\n`);
    this.#drawn = shown.length;
  }

  /** Keeps the last drawing on the screen. */
  end(): void {
    this.#giveWay();
    this.#screen.write(showCursor);
  }

  #clear(): void {
    if (this.#drawn > 0) this.#screen.write(`${escape}${this.#drawn}A\r${clearBelow}`);
    this.#drawn = 0;
  }
}
