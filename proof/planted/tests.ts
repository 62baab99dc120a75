// Runs the tests of laws in the copy and reads which failed.
import { readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { z } from 'zod';
import { run } from './commands.js';
import type { Suite } from './laws.js';

export type Verdict =
  | { readonly kind: 'passed' }
  /** A test failed; the file is relative to the copy. */
  | { readonly kind: 'found'; readonly file: string; readonly title: string }
  /** No verdict: no test failed, yet the run did not pass. */
  | { readonly kind: 'error'; readonly why: string };

const reportSchema = z.object({
  numPassedTests: z.number(),
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      message: z.string().optional(),
      assertionResults: z.array(z.object({ status: z.string(), fullName: z.string() })),
    }),
  ),
});

/** Runs the suites one after the other, up to the first test that fails; together at most so long. */
export async function runTests(folder: string, suites: readonly Suite[], limitMs: number): Promise<Verdict> {
  const untilMs = performance.now() + limitMs;
  for (const suite of suites) {
    const verdict = await runSuite(folder, suite, untilMs - performance.now());
    if (verdict.kind !== 'passed') return verdict;
  }
  return { kind: 'passed' };
}

async function runSuite(folder: string, { name, files }: Suite, leftMs: number): Promise<Verdict> {
  const outputFile = join(folder, 'planted-report.json');
  rmSync(outputFile, { force: true });
  const { code, isLate, output } = await run(
    process.execPath,
    [
      join(folder, 'node_modules/vitest/vitest.mjs'),
      'run',
      ...['--project', name, '--bail', '1', '--reporter', 'json', '--outputFile', outputFile],
      ...files,
    ],
    { cwd: folder, timeoutMs: Math.max(1, leftMs) },
  );
  if (isLate) return { kind: 'error', why: `no verdict in time, in suite ${name}` };
  const report = readReport(outputFile);
  if (!report) return { kind: 'error', why: `no report of suite ${name}: ${lastLine(output)}` };
  for (const { name: file, assertionResults } of report.testResults) {
    const failed = assertionResults.find(({ status }) => status === 'failed');
    if (failed) return { kind: 'found', file: relative(folder, file), title: failed.fullName };
  }
  const broken = report.testResults.find(({ status }) => status === 'failed');
  if (broken) {
    return {
      kind: 'error',
      why: `${relative(folder, broken.name)} does not run: ${lastLine(broken.message ?? '')}`,
    };
  }
  if (code !== 0)
    return { kind: 'error', why: `suite ${name} ended with ${code ?? 'a signal'}: ${lastLine(output)}` };
  if (report.numPassedTests === 0) return { kind: 'error', why: `no test of suite ${name} ran` };
  return { kind: 'passed' };
}

function readReport(path: string): z.infer<typeof reportSchema> | undefined {
  try {
    return reportSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return undefined;
  }
}

const lastLine = (text: string): string => (text.trim().split('\n').at(-1) ?? '').slice(0, 200);
