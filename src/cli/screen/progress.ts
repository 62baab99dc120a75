// Shows progress on stderr: a bar on a terminal, otherwise plain lines, at most one per second and only when it has changed.
import cliProgress from 'cli-progress';
import type { ProgressText } from './request-text.js';
import { percent } from './table.js';
import type { Terminal } from './terminal.js';

export interface ProgressDisplay {
  show(progress: ProgressText): void;
  /** Leaves nothing of a bar behind. */
  end(): void;
}

export const createProgressDisplay = (terminal: Terminal): ProgressDisplay =>
  terminal.stderr.isTTY ? new BarDisplay(terminal) : new LineDisplay(terminal);

const longestLineGapMs = 1_000;

class LineDisplay implements ProgressDisplay {
  #lastText: string | undefined;
  /** Work that ends sooner needs no progress. */
  #lastMs = performance.now();

  constructor(private readonly terminal: Terminal) {}

  show({ text, ratio }: ProgressText): void {
    const nowMs = performance.now();
    const line = ratio === undefined ? text : `${percent(ratio)} ${text}`;
    if (line === this.#lastText || nowMs - this.#lastMs < longestLineGapMs) return;
    this.#lastText = line;
    this.#lastMs = nowMs;
    this.terminal.note(line);
  }

  end(): void {
    this.#lastText = undefined;
  }
}

class BarDisplay implements ProgressDisplay {
  readonly #bar: cliProgress.SingleBar;
  readonly #giveWay: () => void;

  constructor(terminal: Terminal) {
    this.#bar = new cliProgress.SingleBar(
      {
        stream: terminal.stderr,
        format: formatBar,
        barsize: 24,
        linewrap: true,
        clearOnComplete: true,
        gracefulExit: false,
      },
      cliProgress.Presets.shades_classic,
    );
    this.#giveWay = terminal.makeWay(() => this.#bar.stop());
  }

  show(progress: ProgressText): void {
    if (!this.#bar.isActive) this.#bar.start(1, 0, progress);
    this.#bar.update(progress.ratio ?? 0, progress);
  }

  end(): void {
    this.#giveWay();
    this.#bar.stop();
  }
}

/** Without a bar while the total is not known. */
function formatBar(
  options: cliProgress.Options,
  { progress }: cliProgress.Params,
  { text, ratio }: ProgressText,
): string {
  if (ratio === undefined) return text;
  return `${cliProgress.Format.BarFormat(progress, options)} ${percent(ratio).padStart(5)}  ${text}`;
}
