// Checks behind /healthz and /readyz: each has a name and a deadline of its own, and says what is wrong in one sentence.
import { isFault } from '../errors.js';

/** Resolves when all is well; a string says what is not. The signal is aborted when the answer would come too late. */
export type Check = (signal: AbortSignal) => string | undefined | Promise<string | undefined>;

export interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  readonly message?: string;
}

export interface Report {
  readonly status: 'ok' | 'failing';
  readonly checks: readonly CheckResult[];
}

/** Runs all checks side by side. Never rejects; a check that throws or takes longer than `deadlineMs` fails. */
export async function runChecks(
  checks: Readonly<Record<string, Check>>,
  deadlineMs: number,
): Promise<Report> {
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, check]): Promise<CheckResult> => {
      const message = await messageOf(check, deadlineMs);
      return message === undefined ? { name, ok: true } : { name, ok: false, message };
    }),
  );
  return { status: results.every((result) => result.ok) ? 'ok' : 'failing', checks: results };
}

async function messageOf(check: Check, deadlineMs: number): Promise<string | undefined> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => {
      controller.abort();
      resolve(`No answer within ${deadlineMs} ms`);
    }, deadlineMs);
  });
  try {
    return await Promise.race([check(controller.signal), late]);
  } catch (error) {
    // Messages of libraries may quote hosts and documents; whoever asks over HTTP is told no more than a name.
    return isFault(error) ? error.message : 'Failed unexpectedly';
  } finally {
    clearTimeout(timer);
  }
}
