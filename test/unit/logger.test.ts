import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import { createLogger, type Logger } from '../../src/base/logger.js';

const email = 'jane.canary@example.com';
const key = 'rk_live_51Hcanarycanarycanary';
const person = {
  id: 'cus_1',
  email,
  name: 'Jane Canary',
  address: { line1: 'Canary Street 1' },
  phone: '+49canary',
};

function logOf(level: 'info' | 'silent' = 'info', format: 'json' | 'pretty' | 'auto' = 'json') {
  const lines: string[] = [];
  const logger = createLogger({ level, format }, { write: (line) => lines.push(line) });
  return { logger, lines, last: () => JSON.parse(lines.at(-1) ?? '{}') as Record<string, unknown> };
}

/** An error such as drivers throw: message, document and headers quote what they were given. */
const talkative = (): Error =>
  Object.assign(new Error(`E11000 duplicate key { email: "${email}" }\n    at Jane Canary (x.js:1:1)`), {
    code: 11000,
    writeErrors: [{ op: person }],
    headers: { authorization: `Bearer ${key}` },
  });

describe('a line of the log', () => {
  it('is one JSON object with time, level, service, version, pid and the fields given', () => {
    const { logger, last } = logOf();

    logger.info({ requestId: 'r1', command: 'syncAll', attempt: 2 }, 'Request claimed');

    expect(last()).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) as string,
      level: 'info',
      service: 'stripe-mongo-sync',
      version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
      pid: process.pid,
      requestId: 'r1',
      command: 'syncAll',
      attempt: 2,
      msg: 'Request claimed',
    });
  });

  it('is JSON on anything but a terminal, readable text when asked for', () => {
    const json = logOf('info', 'auto');
    json.logger.info('Ready');
    expect(json.last()).toMatchObject({ msg: 'Ready' });

    const pretty = logOf('info', 'pretty');
    pretty.logger.warn({ requestId: 'r1' }, 'Slow');
    expect(pretty.lines.join('')).toMatch(/WARN: Slow \{"requestId":"r1"\}\n$/);
  });

  it('is not written below the level', () => {
    const { logger, lines } = logOf('silent');

    logger.fatal('Nothing');

    expect(lines).toEqual([]);
  });

  it('keeps ids, dates, numbers beyond 2^53 and lists', () => {
    const { logger, last } = logOf();

    logger.info({ ids: ['cus_1'], at: new Date(0), big: 2n ** 60n, nested: { outcome: 'failed' } }, 'Kept');

    expect(last()).toMatchObject({
      ids: ['cus_1'],
      at: '1970-01-01T00:00:00.000Z',
      big: '1152921504606846976',
      nested: { outcome: 'failed' },
    });
  });

  it('survives whatever it is given: cycles, deep nesting, binary, null', () => {
    const { logger, last } = logOf();
    const cycle: Record<string, unknown> = { none: null, bytes: Buffer.from(email) };
    cycle['self'] = cycle;

    logger.info({ cycle }, 'Odd');

    expect(last()).toMatchObject({ msg: 'Odd', cycle: { none: null, bytes: '[binary]' } });
  });
});

describe('no email, name, key or header gets into a line', () => {
  const ways: Record<string, (logger: Logger) => void> = {
    'as fields': (logger) =>
      logger.info({ ...person, apiKey: key, headers: { authorization: key } }, 'Fields'),
    'as fields of children': (logger) =>
      logger.child({ customer: person }).child({ raw: key, name: person.name }).info('Child'),
    'as fields of children with options': (logger) =>
      logger.child({ customer: person }, { level: 'info' }).info('Child'),
    'nested in lists': (logger) => logger.info({ found: [{ deep: { customer: person } }] }, 'Nested'),
    'in an error': (logger) => logger.error({ err: talkative() }, 'Failed'),
    'in an error without a message': (logger) => logger.error({ err: talkative() }),
    'in an error alone': (logger) => logger.error(talkative()),
    'in an error under another name': (logger) =>
      logger.error({ reason: talkative(), list: [talkative()] }, 'Failed'),
    'in the cause of a fault': (logger) =>
      logger.error(
        { err: new Fault('mongodb_rejected', 'Refused', { kind: 'terminal', cause: talkative() }) },
        'Failed',
      ),
    'in the cause of an unexpected error': (logger) =>
      logger.fatal({ err: new Error('Outer', { cause: talkative() }) }, 'Failed'),
    'in an aggregate of errors': (logger) =>
      logger.error({ err: new AggregateError([talkative()], email) }, 'Failed'),
    'in the message itself': (logger) => logger.info(`Customer ${email} with ${key}`),
    'as arguments of the message': (logger) => logger.info('Customer %s %o', email, person),
    'as a lone value': (logger) => logger.info(person),
    'through toJSON': (logger) => logger.info({ document: { toJSON: () => person } }, 'Document'),
    'in a connection string': (logger) => logger.info({ at: 'mongodb://jane:canary@host/db' }, 'Connecting'),
    'under names in any spelling': (logger) =>
      logger.info({ 'API-Key': 'canary', BillingDetails: 'canary' }, 'Spelt'),
  };

  it.each(Object.entries(ways))('%s', (_way, log) => {
    for (const format of ['json', 'pretty'] as const) {
      const { logger, lines } = logOf('info', format);

      log(logger);

      expect(lines).toHaveLength(1);
      expect(lines[0]).not.toMatch(/canary/i);
    }
  });
});

describe('an error in the log', () => {
  it('is what may be told of a fault, without a stack where the fault is expected', () => {
    const { logger, last } = logOf();
    const cause = Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });

    logger.warn(
      { err: new Fault('stripe_unavailable', 'Stripe cannot be reached', { kind: 'retryable', cause }) },
      'Retrying',
    );

    expect(last()['err']).toEqual({
      code: 'stripe_unavailable',
      message: 'Stripe cannot be reached',
      type: 'Error',
      systemCode: 'ECONNREFUSED',
    });
  });

  it('has the lines of the stack but not the message where nobody expected it', () => {
    const { logger, last } = logOf();

    logger.error(new TypeError(`Cannot read ${email}`));

    expect(last()).toMatchObject({
      msg: 'Unexpected TypeError',
      err: {
        code: 'internal',
        type: 'TypeError',
        stack: expect.arrayContaining([expect.stringMatching(/^at .*logger\.test\.ts:\d+:\d+/)]) as string[],
      },
    });
  });
});
