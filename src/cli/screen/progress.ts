// Shows progress on stderr: a bar where that is a terminal, otherwise plain lines, at most one a second and only what is new.
import cliProgress from 'cli-progress';
import { isEndStatus } from '../../requests/request.js';
import type { RequestView } from '../../requests/view.js';
import { outcomes } from '../../sync/outcome.js';
import { count, duration } from './table.js';
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
  /** What ends sooner needs no progress. */
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

/** The bar itself only where it is known how much there is to do. */
function formatBar(
  options: cliProgress.Options,
  { progress }: cliProgress.Params,
  { text, ratio }: ProgressText,
): string {
  if (ratio === undefined) return text;
  return `${cliProgress.Format.BarFormat(progress, options)} ${percent(ratio).padStart(5)}  ${text}`;
}

const percent = (ratio: number): string => `${Math.floor(ratio * 100)} %`;

// How far requests are, in words and as a ratio.
export interface ProgressText {
  readonly text: string;
  /** 0 to 1; undefined while it is not known. */
  readonly ratio: number | undefined;
}

/** `entries`: how many ids or customers the requests have in all; undefined for a scan. */
export function progressText(requests: readonly RequestView[], entries: number | undefined): ProgressText {
  const running = requests.filter(({ status }) => status === 'running');
  const done = requests.reduce((sum, request) => sum + doneOf(request), 0);
  const ended = requests.filter(({ status }) => isEndStatus(status)).length;
  const total = entries ?? sumOf(requests.map(({ progress }) => progress?.estimated));
  const ratio = entries === undefined ? requests[0]?.progress?.ratio : done / entries;
  const isUnderWay = running.some(({ progress }) => progress) || ended > 0;

  const parts = [
    ...(requests.length > 1 ? [`${count(ended)} of ${count(requests.length)} requests`] : []),
    ...(isUnderWay
      ? [
          `${count(done)}${total === undefined ? '' : ` of ${entries === undefined ? 'about ' : ''}${count(total)}`}`,
        ]
      : [stateText(requests)]),
    ...speedText(requests),
  ];
  return { text: parts.join(', '), ratio: isUnderWay ? ratio : undefined };
}

/** How many objects a request has dealt with. */
function doneOf({ status, progress, result }: RequestView): number {
  if (isEndStatus(status) && result) return outcomes.reduce((sum, outcome) => sum + result[outcome], 0);
  return progress?.done ?? 0;
}

function sumOf(numbers: readonly (number | undefined)[]): number | undefined {
  const known = numbers.filter((number) => number !== undefined);
  return known.length > 0 ? known.reduce((sum, number) => sum + number, 0) : undefined;
}

function stateText(requests: readonly RequestView[]): string {
  if (requests.some(({ status }) => status === 'running')) return 'running';
  const again = requests.find(({ attempts = 0 }) => attempts > 0);
  if (!again) return 'waiting';
  const code = again.history?.at(-1)?.error?.code;
  return `attempt ${again.attempts ?? 0} did not end it${code ? ` (${code})` : ''}, waiting for the next`;
}

/** Of those that run now; how long is left is known of one alone. */
function speedText(requests: readonly RequestView[]): string[] {
  const running = requests.filter(({ status }) => status === 'running');
  const perSecond = sumOf(running.map(({ progress }) => progress?.perSecond));
  const etaSeconds = requests.length === 1 ? running[0]?.progress?.etaSeconds : undefined;
  return [
    ...(perSecond === undefined ? [] : [`${count(Math.round(perSecond))}/s`]),
    ...(etaSeconds ? [`${duration(etaSeconds)} left`] : []),
  ];
}
