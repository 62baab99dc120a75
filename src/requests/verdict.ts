// Decides what happens to a request after an attempt. Pure: time and randomness are parameters.
import { type ErrorReport, type Fault, isFault, isRetryable, reportError } from '../base/errors.js';
import { type Backoff, backoffMs } from '../base/waiting.js';
import { partialResultOf, statusOf, type SyncResult } from '../sync/outcome.js';
import type { SyncCommand } from './commands.js';
import type { Ending, Requeue } from './steps.js';

/** How an attempt ended: with a result, or by throwing. */
export type AttemptOutcome = { readonly result: SyncResult } | { readonly error: unknown };

export type Verdict =
  | { readonly kind: 'finish'; readonly ending: Ending }
  | (Requeue & { readonly kind: 'retry' | 'hold' })
  /** `fatal` must be reported to the process. */
  | (Requeue & { readonly kind: 'release'; readonly fatal: Fault | undefined })
  /** Another process holds it now: nothing is written. */
  | { readonly kind: 'lost' };

export interface AttemptFacts {
  readonly command: SyncCommand;
  readonly outcome: AttemptOutcome;
  /** Why the attempt was aborted, if it was. */
  readonly abortedBy: Fault | undefined;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly backoff: Backoff;
  readonly random: () => number;
}

/**
 * How long a request rests after a fatal fault: this process is about to end, and the next one may fail the
 * same way.
 */
const fatalRestMs = 30_000;
/** How long a held request rests where the fault does not say it. */
const holdMs = 3_600_000;

/** What to do with the request. */
export function judge(facts: AttemptFacts): Verdict {
  const { outcome, abortedBy, backoff } = facts;
  if (abortedBy?.code === 'lease_lost') return { kind: 'lost' };
  if ('result' in outcome) return { kind: 'finish', ending: endingOf(facts.command, outcome.result) };
  // Any error thrown after an abort is a consequence of it.
  const error = abortedBy ?? outcome.error;
  const partial = partialResultOf(outcome.error);
  if (isFault(error)) {
    if (error.code === 'lease_lost') return { kind: 'lost' };
    if (error.code === 'cancelled')
      return { kind: 'finish', ending: { status: 'cancelled', result: partial } };
    if (error.code === 'shutdown') {
      return { kind: 'release', error: reportError(error), delayMs: 0, fatal: undefined };
    }
    if (error.code === 'read_allowance_used') {
      return { kind: 'hold', error: reportError(error), delayMs: error.retryAfterMs ?? holdMs };
    }
    if (error.kind === 'fatal') {
      const delayMs = Math.min(backoff.maxMs, fatalRestMs);
      return { kind: 'release', error: reportError(error), delayMs, fatal: error };
    }
  }
  return isRetryable(error) ? retryOrGiveUp(facts, error, partial) : failed(reportError(error), partial);
}

function retryOrGiveUp(facts: AttemptFacts, error: unknown, partial: SyncResult | undefined): Verdict {
  const { attempt, maxAttempts, backoff, random } = facts;
  const report = reportError(error);
  if (attempt < maxAttempts) {
    const retryAfterMs = isFault(error) ? error.retryAfterMs : undefined;
    return { kind: 'retry', error: report, delayMs: retryDelayMs(attempt, backoff, random, retryAfterMs) };
  }
  return {
    kind: 'finish',
    ending: {
      status: 'failed',
      result: partial,
      error: {
        code: 'attempts_exhausted',
        message: `Given up after ${attempt} ${attempt === 1 ? 'attempt' : 'attempts'}: ${report.message}`,
        cause: report,
      },
    },
  };
}

const failed = (error: ErrorReport, result: SyncResult | undefined): Verdict => ({
  kind: 'finish',
  ending: { status: 'failed', result, error },
});

function endingOf(command: SyncCommand, result: SyncResult): Ending {
  const status = statusOf(result);
  if (status === 'failed') return { status, result, error: summaryOf(result) };
  const batch = command.command === 'syncBatch' && status === 'succeeded' ? command.batch : undefined;
  return { status, result, ...(batch && { batch: [...new Set(batch.map(({ id }) => id))] }) };
}

/** For users who read only `error`: one code if all items share it. */
function summaryOf({ failed: count, items }: SyncResult): ErrorReport {
  const failures = items.filter(({ outcome }) => outcome === 'failed');
  const codes = new Set(failures.map(({ code }) => code ?? 'internal'));
  const [code = 'internal'] = codes;
  const only = failures.length === 1 ? failures[0] : undefined;
  const what = only
    ? `${only.id}: ${only.message ?? code}`
    : `None of ${count} could be synced (${[...codes].join(', ')}), see result.items`;
  return { code, message: what };
}

/** Upper limit of the wait that a `Retry-After` may cause. */
const longestWaitMs = 86_400_000;

/**
 * Milliseconds to wait after the given attempt (1, 2, …): exponential backoff with full jitter, added to
 * `retryAfterMs`. Without the jitter, all requests that were told the same time would return at once.
 * Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function retryDelayMs(
  attempt: number,
  backoff: Backoff,
  random: () => number,
  retryAfterMs = 0,
): number {
  const toldMs = Number.isFinite(retryAfterMs) ? Math.max(retryAfterMs, 0) : 0;
  return Math.round(Math.min(toldMs + backoffMs(backoff, attempt, random), longestWaitMs));
}
