// Scripts of the image are not compiled, so the compiler does not see where their imports lead.
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';

test('scripts of the image import what src compiles to', async () => {
  const scripts = (await readdir('image')).filter((name) => name.endsWith('.js'));
  const texts = await Promise.all(scripts.map((name) => readFile(`image/${name}`, 'utf8')));

  const imported = texts.flatMap((text) =>
    [...text.matchAll(/from '\.\/dist\/(.+)\.js'/g)].map(([, path]) => `src/${path}.ts`),
  );

  expect(imported).not.toEqual([]);
  expect(imported.filter((path) => !existsSync(path))).toEqual([]);
});
