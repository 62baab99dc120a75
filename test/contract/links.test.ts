// Links between the pages of the repository lead to files, and to headings in them, that exist.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folders = ['docs', 'helm', 'bench', 'demo', 'test', '.github'];

const pages = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...folders
    .filter((folder) => existsSync(join(root, folder)))
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => /\.md(?:\.gotmpl)?$/.test(name))
        .map((name) => `${folder}/${name}`),
    ),
];

const read = (page: string): string => readFileSync(join(root, page), 'utf8');
const withoutCode = (text: string): string => text.replace(/^```[^\n]*\n[\s\S]*?^```/gm, '');

/** As GitHub makes them of headings: https://docs.github.com/get-started/writing-on-github (section links). */
function anchorsOf(page: string): string[] {
  const seen = new Map<string, number>();
  return [...withoutCode(read(page)).matchAll(/^#{1,6} +(.+?) *$/gm)].map(([, heading = '']) => {
    const slug = heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/\s/g, '-');
    const before = seen.get(slug) ?? 0;
    seen.set(slug, before + 1);
    return before === 0 ? slug : `${slug}-${before}`;
  });
}

/** Targets of links and pictures, those in code left out. */
const targetsOf = (text: string): string[] =>
  [
    ...withoutCode(text)
      .replace(/`[^`\n]*`/g, 'code')
      .matchAll(/\]\(<?([^)\s>]+)>?(?: "[^"]*")?\)/g),
  ].map(([, target = '']) => target);

const isElsewhere = (target: string): boolean => /^[a-z][a-z0-9+.-]*:|^\/\//i.test(target);

/** What is wrong with a link; undefined where nothing is. */
function faultOf(page: string, target: string): string | undefined {
  const [path = '', anchor] = decodeURIComponent(target).split('#');
  const file = path === '' ? page : join(dirname(page), path);
  if (path.startsWith('/') || relative(root, join(root, file)).startsWith('..')) {
    return `${target} leads out of the repository`;
  }
  if (!existsSync(join(root, file))) return `${target}: there is no ${file}`;
  if (anchor === undefined || !file.endsWith('.md')) return undefined;
  return anchorsOf(file).includes(anchor) ? undefined : `${target}: ${file} has no heading #${anchor}`;
}

describe('links', () => {
  test.each(pages)('in %s lead to something', (page) => {
    const targets = targetsOf(read(page)).filter((target) => !isElsewhere(target));

    expect(targets.map((target) => faultOf(page, target)).filter((fault) => fault !== undefined)).toEqual([]);
  });

  test('are found, and what is wrong with them is seen', () => {
    const text = '[a](b.md#c) `[no](x)` ![p](<q.png>)\n```md\n[no](y)\n```\n[t](u "title")';

    expect(targetsOf(text)).toEqual(['b.md#c', 'q.png', 'u']);
    expect(faultOf('docs/requests.md', 'nothing.md')).toContain('there is no docs/nothing.md');
    expect(faultOf('docs/requests.md', 'operations.md#nothing')).toContain('no heading #nothing');
    expect(faultOf('README.md', '../elsewhere.md')).toContain('out of the repository');
    expect(faultOf('docs/requests.md', 'operations.md#the-validator-on-sync_requests')).toBeUndefined();
    expect(pages.length).toBeGreaterThan(15);
  });

  test('to every page of docs are in README.md or in a page it leads to', () => {
    const reached = new Set(['README.md']);
    for (const page of reached) {
      for (const target of targetsOf(read(page)).filter((each) => !isElsewhere(each))) {
        const file = join(dirname(page), target.split('#')[0] ?? '');
        if (file.endsWith('.md') && existsSync(join(root, file))) reached.add(file);
      }
    }

    expect(pages.filter((page) => page.startsWith('docs/') && !reached.has(page))).toEqual([]);
  });
});
