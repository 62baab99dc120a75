import fc from 'fast-check';
import { mongo } from 'mongoose';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ensureRequestIndexes } from '../../src/requests/indexes.js';
import { parseRequest } from '../../src/requests/parse.js';
import {
  ensureRequestValidator,
  type ValidationSetting,
  validatorVersion,
} from '../../src/requests/validator.js';
import { freshDatabase } from '../support/database.js';
import { type AnyDocument, heldRunner, quickRunner, requestsLab } from '../support/requests.js';

const database = freshDatabase();
const lab = requestsLab(database);
let place: Awaited<ReturnType<typeof lab.connect>>;

const setValidator = (validation: ValidationSetting = 'error', version?: number) =>
  ensureRequestValidator(place, validation, version);

/** What MongoDB answers to an insertion: nothing, or the rules that were broken. */
async function refusal(document: AnyDocument): Promise<string | undefined> {
  try {
    await database.db.collection('sync_requests').insertOne({ ...document });
    return undefined;
  } catch (error) {
    expect(error).toMatchObject({ code: 121 });
    return JSON.stringify((error as mongo.MongoServerError).errInfo?.['details']); // as the line above says
  }
}

async function rules(): Promise<mongo.BSON.Document> {
  const [found] = await database.db.listCollections({ name: 'sync_requests' }).toArray();
  return (found as unknown as { options: mongo.BSON.Document }).options;
}

const titleOf = ({ validator }: mongo.BSON.Document): unknown =>
  (validator as { $jsonSchema?: { title?: unknown } } | undefined)?.$jsonSchema?.title;

beforeAll(async () => {
  place = await lab.connect();
});

beforeEach(async () => {
  await lab.requests.drop();
  await lab.state.deleteMany({});
  await ensureRequestIndexes(place);
});

describe('an insertion under the validator', () => {
  beforeEach(async () => {
    await setValidator();
  });

  const nonsense: [string, AnyDocument, string][] = [
    ['no command', { ids: ['cus_1'] }, '"missingProperties":["command"]'],
    ['a command that is no text', { command: 7 }, 'The command: syncAll, '],
    ['no ids', { command: 'syncByIds' }, '"missingProperties":["ids"]'],
    ['ids that are no list', { command: 'syncByIds', ids: 'cus_1' }, 'A list of 1 to 1000 ids'],
    ['no id at all', { command: 'syncByIds', ids: [] }, 'A list of 1 to 1000 ids'],
    ['too many ids', { command: 'syncByIds', ids: Array(1_001).fill('cus_1') }, 'A list of 1 to 1000 ids'],
    ['an id with NUL', { command: 'syncByIds', ids: ['cus_1', 'a\0b'] }, 'An id such as cus_123'],
    [
      'an id of 256 characters, the last a line break',
      { command: 'softDelete', stripeId: `${'a'.repeat(255)}\n` },
      'An id such as',
    ],
    ['an empty id', { command: 'softDelete', stripeId: '' }, 'An id such as'],
    ['an id that is an operator', { command: 'softDelete', stripeId: { $gt: '' } }, 'An id such as'],
    ['a batch of ids', { command: 'syncBatch', batch: ['cus_1'] }, 'An object with an id'],
    [
      'a batch entry without id',
      { command: 'syncBatch', batch: [{ name: 'x' }] },
      '"missingProperties":["id"]',
    ],
    ['a request to approve that is none', { command: 'approveRemovals', request: 7 }, 'The _id of a request'],
    [
      'a date that is a text',
      { command: 'syncAll', runAt: '2027-01-01' },
      "not before this time, by MongoDB's",
    ],
    ['half an attempt', { command: 'syncAll', maxAttempts: 1.5 }, 'A whole number from 1 to 100'],
    ['attempts without end', { command: 'syncAll', maxAttempts: 101 }, 'A whole number from 1 to 100'],
    ['a wish that is a text', { command: 'syncAll', dryRun: 'yes' }, 'True or false'],
    ['an empty key', { command: 'syncAll', dedupeKey: '' }, 'A text of 1 to 256 characters'],
    ['a status of nonsense', { command: 'syncAll', status: 'done' }, 'status is left out, or one of pending'],
    ['an option of nonsense on an unknown command', { command: 'later', cancel: 1 }, 'True or false'],
  ];
  it.each(nonsense)('of %s is refused in words', async (_, document, words) => {
    expect(await refusal(document)).toContain(words);
  });

  const sound: [string, AnyDocument][] = [
    ['each command', { command: 'syncByIds', ids: ['cus_1'] }],
    ['every option', { command: 'syncAll', runAt: new Date(), dedupeKey: 'k', maxAttempts: 5, dryRun: true }],
    ['numbers of other drivers', { command: 'syncAll', maxAttempts: mongo.Long.fromNumber(5) }],
    [
      'null for what is not set',
      { command: 'syncAll', runAt: null, dedupeKey: null, cancel: null, status: null },
    ],
    ['fields of its own', { command: 'softDelete', stripeId: 'cus_1', ids: 'mine', tenant: { a: [1] } }],
    ['a command that another version may know', { command: 'syncInvoices', ids: 7 }],
    ['an approval by ObjectId', { command: 'approveRemovals', request: new mongo.ObjectId() }],
    ['an approval by a name', { command: 'approveRemovals', request: 'direct:1f0c' }],
    [
      'forged fields of the daemon',
      { command: 'syncAll', status: 'running', lease: 'x', attempts: 'y', result: 1 },
    ],
  ];
  it.each(sound)('of %s passes', async (_, document) => {
    expect(await refusal(document)).toBeUndefined();
  });

  it('passes whenever the daemon can parse it', async () => {
    const date = fc.date({ noInvalidDate: true });
    const id = fc.string({ unit: 'binary', maxLength: 256 });
    const orNothing = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null });
    const anything = fc.oneof(
      fc.string(),
      fc.integer(),
      fc.boolean(),
      fc.array(fc.string()),
      fc.constant({}),
      date,
    );
    const mostly = <T>(value: fc.Arbitrary<T>) =>
      fc.oneof({ weight: 9, arbitrary: value }, { weight: 1, arbitrary: anything });
    const options = {
      runAt: mostly(orNothing(date)),
      dedupeKey: mostly(fc.string({ unit: 'grapheme', maxLength: 260 })),
      maxAttempts: mostly(fc.oneof(fc.integer({ min: 0, max: 101 }), fc.double())),
      dryRun: mostly(orNothing(fc.boolean())),
      requestedBy: mostly(fc.string({ maxLength: 257 })),
      cancel: mostly(orNothing(fc.boolean())),
      observedAt: orNothing(date),
    };
    const request = fc.record(
      {
        command: fc.constantFrom('syncAll', 'syncByIds', 'syncBatch', 'softDelete'),
        ids: mostly(fc.array(id, { maxLength: 3 })),
        batch: mostly(fc.array(fc.record({ id, name: anything }), { maxLength: 3 })),
        stripeId: mostly(id),
        ...options,
      },
      { requiredKeys: ['command'] },
    );
    let valid = 0;

    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 20, maxLength: 20 }), async (documents) => {
        const parsable = documents.filter((document) => parseRequest(document).kind === 'valid');
        valid += parsable.length;
        const unkeyed = parsable.map(({ dedupeKey, ...rest }) => ({
          ...rest,
          ...(dedupeKey != null && {
            dedupeKey: `${(dedupeKey as string).slice(0, 200)} ${String(new mongo.ObjectId())}`,
          }),
        }));
        if (unkeyed.length > 0) await lab.insert(...unkeyed);
      }),
      { numRuns: 40 },
    );

    expect(valid).toBeGreaterThan(100);
  });
});

describe('a request under the validator', () => {
  it('ends failed although it was invalid before there were rules', async () => {
    const ids = await lab.insert(
      { command: 'syncByIds', ids: 'cus_1' },
      { command: 'softDelete', stripeId: { $gt: '' }, runAt: 'tomorrow' },
      { command: 7 },
      { command: 'syncAll', status: 'done' },
      { command: 'syncAll', status: 'running', lease: { owner: 1 }, maxAttempts: 'x' },
      { command: 'syncBatch', batch: ['cus_1'], cancel: 'no' },
      { command: 'syncBatch', batch: 'x'.repeat(15_500_000) },
    );

    await setValidator();
    await lab.worker({ runner: quickRunner() });

    for (const id of ids) {
      expect(await lab.ended(id)).toMatchObject({ status: 'failed', error: { code: 'invalid_request' } });
    }
  });

  it('ends failed when it is too large for the daemon, though every rule is kept', async () => {
    await setValidator();
    const batch = Array.from({ length: 1_000 }, (_, n) => ({ id: `cus_${n}`, name: 'x'.repeat(15_400) }));
    const [id] = (await lab.insert({ command: 'syncBatch', batch })) as [mongo.ObjectId];

    await lab.worker({ runner: quickRunner() });

    expect(await lab.ended(id)).toMatchObject({ status: 'failed', error: { code: 'invalid_request' } });
  });

  it('goes through its whole life: tried again, ended with ids for a batch, set back, cancelled', async () => {
    await setValidator();
    let fails = 1;
    const runner = quickRunner((command) => {
      if (command.command === 'syncBatch' && fails-- > 0) throw new Error('once');
      return quickRunner().run(command, undefined as never);
    });
    const [batch, cancelled] = (await lab.insert(
      { command: 'syncBatch', batch: [{ id: 'cus_1' }, { id: 'cus_2' }] },
      { command: 'syncByIds', ids: ['cus_1'], cancel: true },
    )) as [mongo.ObjectId, mongo.ObjectId];

    await lab.worker({ runner });
    const first = await lab.ended(batch);
    await lab.requests.updateOne({ _id: batch }, { $set: { status: 'pending' } });
    const again = await lab.reaching(batch, 'failed', ({ status }) => status === 'failed');

    expect(first).toMatchObject({ status: 'succeeded', attempts: 2, batch: ['cus_1', 'cus_2'] });
    expect(again).toMatchObject({ error: { code: 'invalid_request' } });
    expect(await lab.ended(cancelled)).toMatchObject({ status: 'cancelled' });
  });

  it('can be changed by its user while it runs, as far as the rules go', async () => {
    await setValidator();
    const runner = heldRunner();
    await lab.worker({ runner });
    const [id] = (await lab.insert({ command: 'syncByIds', ids: ['cus_1'] })) as [mongo.ObjectId];
    await runner.nth(1);

    await expect(lab.requests.updateOne({ _id: id }, { $set: { cancel: 'please' } })).rejects.toMatchObject({
      code: 121,
    });
    await lab.requests.updateOne({ _id: id }, { $set: { cancel: true } });

    expect(await lab.ended(id)).toMatchObject({ status: 'cancelled' });
  });
});

describe('setting the validator', () => {
  it('says what it did, and nothing the second time', async () => {
    expect(await setValidator()).toEqual({ what: 'validator of sync_requests', outcome: 'created' });
    expect(await setValidator()).toMatchObject({ outcome: 'unchanged' });
    expect(await rules()).toMatchObject({ validationLevel: 'moderate', validationAction: 'error' });
  });

  it('follows its setting: warn takes what is wrong, off has no rules', async () => {
    await setValidator('warn');
    const warned = await refusal({ command: 'syncByIds' });
    const warning = await rules();
    expect(await setValidator('off')).toMatchObject({ outcome: 'changed' });
    const off = await rules();
    expect(await setValidator('off')).toMatchObject({ outcome: 'unchanged' });
    await setValidator('error');

    expect(warned).toBeUndefined();
    expect(warning).toMatchObject({ validationLevel: 'moderate', validationAction: 'warn' });
    expect(titleOf(off)).toBeUndefined();
    expect(await refusal({ command: 'syncByIds' })).toBeDefined();
  });

  it('replaces what an older version has set, and leaves alone what a newer one has', async () => {
    const newer = validatorVersion + 1;
    await setValidator('error', validatorVersion - 1);

    const ours = await setValidator('error');
    await setValidator('warn', newer);
    const older = await setValidator('error');

    expect(ours.outcome).not.toBe('left alone');
    expect(older).toMatchObject({
      outcome: 'left alone',
      note: `a newer version has set it (rules ${newer})`,
    });
    expect(await rules()).toMatchObject({ validationAction: 'warn' });
  });

  it('ends with the newest, however many versions start at once', async () => {
    const versions = [1, 2, 3, 4, 5, 6].map((n) => validatorVersion + n);
    const newest = versions.at(-1);

    // Told apart by their action: only the newest one warns.
    await Promise.all(
      versions.flatMap((version) =>
        [1, 2].map(() => setValidator(version === newest ? 'warn' : 'error', version)),
      ),
    );

    expect(await rules()).toMatchObject({ validationAction: 'warn' });
    expect(await lab.state.findOne({ _id: 'requests-validator' })).toMatchObject({ version: newest });
  });

  it("leaves a user's own validator alone", async () => {
    const own = { tenant: { $type: 'string' } };
    await database.db.command({ collMod: 'sync_requests', validator: own });

    const change = await setValidator();

    expect(change).toMatchObject({ outcome: 'left alone', note: 'it has one that is not of this service' });
    expect(await rules()).toMatchObject({ validator: own });
    expect(await setValidator('off')).toMatchObject({ outcome: 'unchanged' });
  });
});
