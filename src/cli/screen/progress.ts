// Shows progress on stderr: a bar on a terminal, otherwise plain lines. A line appears at most once per
// second, and only after a change.
import cliProgress from 'cli-progress';
import type { ProgressText } from './request-text.js';
import { percent } from './table.js';
import type { Terminal } from './terminal.js';

export interface ProgressDisplay {
  show(progress: ProgressText): void;
  /** Erases the bar. May be called more than once. */
  end(): void;
}

export const createProgressDisplay = (terminal: Terminal): ProgressDisplay =>
  terminal.stderr.isTTY ? barDisplay(terminal) : lineDisplay(terminal);

const shortestLineGapMs = 1_000;

function lineDisplay(terminal: Terminal): ProgressDisplay {
  let lastLine = '';
  // Shorter work needs no progress.
  let lastMs = performance.now();
  return {
    show: ({ text, ratio }) => {
      const nowMs = performance.now();
      const line = ratio === undefined ? text : `${percent(ratio)} ${text}`;
      if (line === lastLine || nowMs - lastMs < shortestLineGapMs) return;
      lastLine = line;
      lastMs = nowMs;
      terminal.note(line);
    },
    end: () => undefined,
  };
}

function barDisplay(terminal: Terminal): ProgressDisplay {
  const { stderr: stream } = terminal;
  const looks = { barsize: 24, linewrap: true, clearOnComplete: true, gracefulExit: false };
  const bar = new cliProgress.SingleBar(
    { stream, format: formatBar, ...looks },
    cliProgress.Presets.shades_classic,
  );
  const giveWay = terminal.makeWay(() => bar.stop());
  return {
    show: (progress) => {
      if (!bar.isActive) bar.start(1, 0, progress);
      bar.update(progress.ratio ?? 0, progress);
    },
    end: () => {
      giveWay();
      bar.stop();
    },
  };
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
