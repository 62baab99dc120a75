// Keeps bench/RESULTS.md: every benchmark replaces the one section that is its own, and says by what it was made. Never edited by hand.
import { readFile, rename, writeFile } from 'node:fs/promises';
import { arch, cpus, loadavg, platform, totalmem } from 'node:os';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';

const file = fileURLToPath(new URL('RESULTS.md', import.meta.url));

const head = `# Results of the benchmarks

Written by the commands that each section names, never by hand. Figures of different sections come from different runs; only those
within one section can be compared with each other.
`;

export interface Section {
  /** Its own name in the file, such as `scan`: lower-case letters, digits and `-`. */
  readonly name: string;
  readonly title: string;
  /** What was typed, such as `npm run bench:scan -- --table`. */
  readonly command: string;
  /** Markdown: what was measured, tables, what to make of it. */
  readonly body: string;
  /** Versions of what took part besides Node and the packages, such as `{ MongoDB: '6.0.5' }`. */
  readonly versions?: Readonly<Record<string, string>>;
}

/** Replaces the section of that name in bench/RESULTS.md, or adds it at the end; machine, versions, date and command stand above its body. */
export async function writeSection(section: Section): Promise<void> {
  const { name, title, command, body, versions = {} } = section;
  const [start, end] = [`<!-- ${name}:start -->`, `<!-- ${name}:end -->`];
  const made = [
    `\`${command}\`, ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC`,
    machine(),
    Object.entries({ ...ownVersions(), ...versions })
      .map(([what, version]) => `${what} ${version}`)
      .join(', '),
  ];
  const text = `${start}\n\n## ${title}\n\n${made.join('; ')}.\n\n${body.trim()}\n\n${end}`;
  const before = await readFile(file, 'utf8').catch(() => head);
  const [from, to] = [before.indexOf(start), before.indexOf(end)];
  const after =
    from >= 0 && to > from
      ? before.slice(0, from) + text + before.slice(to + end.length)
      : `${before.trimEnd()}\n\n${text}\n`;
  const options = await resolveConfig(file);
  const partial = `${file}.${process.pid}`;
  await writeFile(partial, await format(after, { ...options, parser: 'markdown' }));
  await rename(partial, file);
}

/** A table of Markdown; cells are text already. */
export function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(columns), line(columns.map(() => '---')), ...rows.map(line)].join('\n');
}

/** The load tells whether others were at work besides. */
function machine(): string {
  const [first] = cpus();
  const model = first?.model.trim() ?? 'unknown processor';
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  const load = (loadavg()[0] ?? 0).toFixed(1);
  return `${cpus().length} × ${model}, ${memory}, ${platform()} ${arch()}, load average ${load} at its end`;
}

function ownVersions(): Record<string, string> {
  const require = createRequire(import.meta.url);
  const versionOf = (name: string): string => {
    // The shape of any package.json.
    const { version } = require(`../node_modules/${name}/package.json`) as { version: string };
    return version;
  };
  return {
    Node: process.versions.node,
    stripe: versionOf('stripe'),
    mongoose: versionOf('mongoose'),
    'MongoDB driver': versionOf('mongodb'),
  };
}
