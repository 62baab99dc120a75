// The public surface is what it was when somebody last meant it: types of the library, help, metrics, settings, requests, what is in MongoDB.
import { existsSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { aspectNames, currentSurface, fileOf } from './surface/aspects.js';
import { lineDiff } from './surface/line-diff.js';

const surface = await currentSurface();

it.each(aspectNames)('is as it was last meant: %s', (name) => {
  const file = fileOf(name);
  const kept = existsSync(file) ? readFileSync(file, 'utf8') : '';

  const changes = lineDiff(kept, surface[name]);

  if (changes !== '') {
    expect.fail(
      `The public surface has changed (- kept, + now):\n\n${changes}\n\n` +
        'Users may have built on it. Where this is meant: npm run surface, and a line in CHANGELOG.md',
    );
  }
});

it('shows what went and what came with the lines around, and nothing of equal texts', () => {
  const before = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l'].join('\n');
  const after = ['a', 'B', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'l', 'm'].join('\n');

  expect(lineDiff(before, after)).toBe(
    ['  a', '- b', '+ B', '  c', '  d', '  e', '…', '  h', '  i', '  j', '- k', '  l', '+ m'].join('\n'),
  );
  expect(lineDiff(before, before)).toBe('');
});
