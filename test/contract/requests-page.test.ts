// docs/requests.md tells users everything of a request: its lists are those of the source, and its recipes are the files that are run.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { faultCodes } from '../../src/base/errors.js';
import { type JsonSchema, requestJsonSchema } from '../../src/requests/json-schema.js';
import { requestStatuses } from '../../src/requests/request.js';

const read = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');
const page = read('docs/requests.md');

/** Of a heading, up to the next of its level. */
function section(title: string): string {
  const [, text = ''] = page.split(`\n## ${title}\n`);
  return text.split('\n## ')[0] ?? '';
}

/** The names in code of the first column of all tables. */
const firstColumn = (text: string): string[] =>
  [...text.matchAll(/^\|([^|]*`[^|]*)\|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name),
  );

/** The fields of an interface of src/requests/request.ts. */
function fieldsOf(name: string): string[] {
  const [, body = ''] = read('src/requests/request.ts').split(`interface ${name} {`);
  return [...(body.split('\n}')[0] ?? '').matchAll(/^ {2}readonly (\w+)/gm)].map(([, field = '']) => field);
}

describe('docs/requests.md', () => {
  test('lists every code, and none that there is not', () => {
    expect(firstColumn(section('Codes')).sort()).toEqual(Object.keys(faultCodes).sort());
  });

  test('explains every field that a user may set', () => {
    const branches = requestJsonSchema['oneOf'] as { properties: Record<string, JsonSchema> }[];
    const fields = new Set(branches.flatMap(({ properties }) => Object.keys(properties)));
    const [, opening = ''] = page.split('# Requests');
    const explained = `${opening.split('\n## ')[0] ?? ''}${section('Optional fields')}`;

    expect(fields.size).toBeGreaterThan(10);
    for (const field of fields) expect(explained, field).toMatch(new RegExp(`\\b${field}\\b`));
  });

  test('explains every field that the daemon writes, and no other', () => {
    const fields = fieldsOf('DaemonFields');

    expect(fields).toContain('status');
    expect(firstColumn(section('What the daemon writes')).sort()).toEqual(fields.sort());
  });

  test('draws and explains every status', () => {
    const drawn = [...section('Status').matchAll(/^ {2}(\S+) --> (\w+)/gm)].flatMap(([, from, to]) => [
      from,
      to,
    ]);

    expect([...new Set(drawn)].filter((name) => name !== '[*]').sort()).toEqual([...requestStatuses].sort());
    expect(firstColumn(section('Status'))).toEqual([...requestStatuses]);
  });

  test('shows recipes that are in the file as they are', () => {
    const file = read('docs/recipes/requests.mongosh.js');
    const blocks = [...section('Recipes').matchAll(/```js\n([\s\S]*?)```/g)].map(([, code = '']) =>
      code.trim(),
    );

    expect(blocks).toHaveLength(6);
    for (const block of blocks) expect(file).toContain(block);
  });
});
