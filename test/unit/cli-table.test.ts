import { describe, expect, it } from 'vitest';
import { printable, shortDuration, tableLines } from '../../src/cli/screen/table.js';

const columns = [
  { header: 'ID' },
  { header: 'TRIES', align: 'right', gives: 1 },
  { header: 'TOOK', align: 'right', gives: 2 },
  { header: 'RESULT' },
] as const;
const rows = [
  ['6b04f49e', '1', '3m20s', '2 updated, 1 failed'],
  ['6b04f49f', '12', '4s', ''],
];

describe('a table', () => {
  it('has columns as wide as what is in them', () => {
    expect(tableLines(columns, rows)).toEqual([
      'ID        TRIES   TOOK  RESULT',
      '6b04f49e      1  3m20s  2 updated, 1 failed',
      '6b04f49f     12     4s',
    ]);
  });

  it('on a narrow terminal leaves out what matters least, and ends its lines at the edge', () => {
    expect(tableLines(columns, rows, 36)).toEqual([
      'ID        TRIES  RESULT',
      '6b04f49e      1  2 updated, 1 failed',
      '6b04f49f     12',
    ]);
    expect(tableLines(columns, rows, 25)).toEqual([
      'ID        RESULT',
      '6b04f49e  2 updated, 1 f…',
      '6b04f49f',
    ]);
  });

  it('is one line a row, whatever is in its cells', () => {
    expect(tableLines([{ header: 'BY' }], [['a\nb\u001b[2J\t\u202e\u0085']])).toEqual([
      'BY',
      'a\\nb\\u001b[2J\\t\\u202e\\u0085',
    ]);
    expect(JSON.parse(printable(JSON.stringify({ a: '\u0085\u202e\n' })))).toEqual({ a: '\u0085\u202e\n' });
  });
});

it.each([
  [0, '0s'],
  [0.42, '0.4s'],
  [9.97, '10s'],
  [59.6, '1m'],
  [200, '3m20s'],
  [7_500, '2h5m'],
  [356_400, '4d3h'],
])('%d seconds read in a column as %s', (seconds, text) => {
  expect(shortDuration(seconds)).toBe(text);
});
