// `npm run proof:planted -- [M2 M7-b …]`: plants known faults into a copy of the checkout, one at a time, and shows which test finds each.
// Exit code 1 if one was not found or does not apply, or if the tests fail without any.
import { endAll } from './commands.js';
import { type Copy, copyCheckout } from './copy.js';
import { readLaws, type Suite, unionOf } from './laws.js';
import { choose, type PlantedFault, readPatches } from './patches.js';
import { runTests, type Verdict } from './tests.js';

const limitMs = 600_000;

interface Row {
  readonly planted: PlantedFault;
  readonly verdict: Verdict;
  readonly seconds: number;
}

async function main(names: readonly string[]): Promise<boolean> {
  const chosen = choose(readPatches(), names);
  const laws = readLaws();
  const suitesOf = ({ name, law }: PlantedFault): readonly Suite[] => {
    const suites = laws.get(law);
    if (!suites) throw new Error(`${name}: proof/planted/laws.yaml names no tests of ${law}`);
    return suites;
  };
  const all = unionOf(chosen.map(suitesOf));
  const copy = await copyCheckout();
  process.once('exit', () => {
    endAll();
    copy.remove();
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130)); // not once: npm and the shell may both send it

  const before = await timed(() => runTests(copy.folder, all, limitMs * all.length));
  console.log(`without a fault: ${describe(before.value)}, ${before.seconds} s`);
  if (before.value.kind !== 'passed') return false;

  const rows: Row[] = [];
  for (const planted of chosen) {
    const { value: verdict, seconds } = await timed(() => plant(copy, planted, suitesOf(planted)));
    rows.push({ planted, verdict, seconds });
    console.log(`${planted.name} ${describe(verdict)}, ${seconds} s`);
  }
  const found = rows.filter(({ verdict }) => verdict.kind === 'found').length;
  console.log(tableOf(rows));
  console.log(`${rows.length} planted, ${found} found`);
  return found === rows.length;
}

async function plant(copy: Copy, { path }: PlantedFault, suites: readonly Suite[]): Promise<Verdict> {
  try {
    await copy.apply(path);
  } catch (error) {
    return {
      kind: 'error',
      why: `does not apply: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
  try {
    return await runTests(copy.folder, suites, limitMs);
  } finally {
    await copy.revert(path);
  }
}

function describe(verdict: Verdict): string {
  switch (verdict.kind) {
    case 'passed':
      return 'every test passed';
    case 'found':
      return `found by ${verdict.file}: ${verdict.title}`;
    case 'error':
      return `ERROR: ${verdict.why}`;
  }
}

/** In Markdown, by law and fault. */
function tableOf(rows: readonly Row[]): string {
  const cells = rows.map(({ planted, verdict }) => {
    const by =
      verdict.kind === 'found' ? [`${verdict.file}: ${verdict.title}`] : ['NOT FOUND', describe(verdict)];
    return [planted.law, planted.name, planted.fault, by.join(': ')];
  });
  const lines = [['law', 'fault', 'what it does', 'found by'], ['---', '---', '---', '---'], ...cells];
  return lines.map((line) => `| ${line.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`).join('\n');
}

async function timed<T>(work: () => Promise<T>): Promise<{ value: T; seconds: number }> {
  const startedAt = performance.now();
  const value = await work();
  return { value, seconds: Math.round((performance.now() - startedAt) / 1_000) };
}

try {
  process.exitCode = (await main(process.argv.slice(2))) ? 0 : 1;
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
