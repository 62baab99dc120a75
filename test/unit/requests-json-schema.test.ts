import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, expectTypeOf, it } from 'vitest';
import type { z } from 'zod';
import { commandNames, type requestSchema } from '../../src/requests/commands.js';
import { type JsonSchema, requestJsonSchema } from '../../src/requests/json-schema.js';
import type { RequestInput } from '../../src/requests/request.js';
import { requestValidator, validatorVersion } from '../../src/requests/validator.js';

/** Of the rules that have been published under each version. */
const published: Readonly<Record<number, string>> = { 1: '4cd681ce0948bb05', 2: 'f6d67de9b0768111' };

const branches = requestJsonSchema['oneOf'] as {
  properties: Record<string, JsonSchema>;
  required: string[];
}[];

describe('the JSON Schema of a request', () => {
  it('is what docs/request.schema.json says', () => {
    const file = readFileSync(new URL('../../docs/request.schema.json', import.meta.url), 'utf8');

    expect(JSON.parse(file)).toEqual(requestJsonSchema);
  });

  it('has every command and says of every field what it is', () => {
    expect(branches.map(({ properties }) => properties['command']?.['const'])).toEqual(commandNames);
    for (const { properties } of branches) {
      for (const [name, field] of Object.entries(properties)) {
        if (name !== 'command') expect(field['description'], name).toMatch(/^[A-Z]/);
      }
    }
  });

  it('has no word that JSON Schema does not have', () => {
    expect(JSON.stringify(requestJsonSchema)).not.toContain('bsonType');
  });
});

describe('the types of a request', () => {
  it('are those that it is parsed by', () => {
    type Parsed = z.input<typeof requestSchema>;

    expectTypeOf<Parsed['command']>().toEqualTypeOf<RequestInput['command']>();
    expectTypeOf<keyof Parsed>().toEqualTypeOf<keyof RequestInput>();
    expectTypeOf<Extract<Parsed, { command: 'syncByIds' }>['ids']>().toExtend<
      Extract<RequestInput, { command: 'syncByIds' }>['ids']
    >();
  });
});

describe('the rules for MongoDB', () => {
  it('have another version when they are others', () => {
    const rules = createHash('sha256').update(JSON.stringify(requestValidator())).digest('hex').slice(0, 16);

    // Where this fails: raise validatorVersion (unless it was never released) and put the new rules down here.
    expect({ [validatorVersion]: rules }).toEqual({ [validatorVersion]: published[validatorVersion] });
  });

  it('bind patterns to the whole text, line breaks included', () => {
    const patterns = JSON.stringify(requestValidator()).match(/"pattern":"[^"]*"/g) ?? [];

    expect(patterns.length).toBeGreaterThan(2);
    for (const pattern of patterns) expect(pattern).toMatch(/^"pattern":"\\\\A.*\\\\z"$/);
  });
});
