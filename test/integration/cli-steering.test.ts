import { mongo } from 'mongoose';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ensureRequestIndexes } from '../../src/requests/indexes.js';
import { callCommandLine, type CommandRun, errorsOf } from '../support/cli.js';
import { freshDatabase } from '../support/database.js';
import { startProcess } from '../support/process.js';
import { type AnyDocument, heldRunner, idOfAge, quickRunner, requestsLab } from '../support/requests.js';
import { until } from '../support/until.js';

const database = freshDatabase();
const lab = requestsLab(database);
const { requests } = lab;
const env = { MONGODB_URI: database.uri };

const run = (...args: string[]): Promise<CommandRun> => callCommandLine(['requests', ...args], env);

/** As somebody may who switches the validation off. */
async function store(document: AnyDocument): Promise<mongo.ObjectId> {
  const _id = (document['_id'] as mongo.ObjectId | undefined) ?? new mongo.ObjectId();
  await requests.insertOne({ command: 'softDelete', stripeId: 'cus_1', ...document, _id });
  return _id;
}

const ended = (status: string, more: AnyDocument = {}): AnyDocument => ({
  status,
  attempts: 3,
  finishedAt: new Date(),
  expireAt: new Date(Date.now() + 86_400_000),
  lease: { owner: 'a', fence: 1 },
  ...more,
});

const linesOf = ({ stdout }: CommandRun): string[] => (stdout === '' ? [] : stdout.split('\n'));
const jsonOf = ({ stdout }: CommandRun): AnyDocument[] => JSON.parse(stdout) as AnyDocument[]; // printed by --json

beforeAll(async () => {
  await ensureRequestIndexes(await lab.connect());
});

beforeEach(async () => {
  await requests.deleteMany({});
});

describe('requests list', () => {
  it("lists the newest first, without cron's successes, and says what became of each", async () => {
    const failed = await store({
      ...ended('failed', { error: { code: 'not_found', message: 'x' }, result: { ...counts, failed: 1 } }),
      _id: idOfAge(300_000),
      requestedBy: 'billing',
    });
    await store({ ...ended('succeeded'), requestedBy: 'cron' });
    const waiting = await store({ runAt: new Date(Date.now() + 7_200_000), _id: idOfAge(60_000) });

    const [header = '', ...rows] = linesOf(await run('list'));

    expect(header.split(/ +/)).toEqual(['ID', 'COMMAND', 'STATUS', 'TRIES', 'AGE', 'TOOK', 'BY', 'RESULT']);
    expect(rows).toHaveLength(2);
    expect(rows[0]).toMatch(
      new RegExp(`^${String(waiting)}  softDelete  pending +0 +1m\\d*s? +due in (1h59m|2h)$`),
    );
    expect(rows[1]).toMatch(
      new RegExp(`^${String(failed)} .* failed +3 +5m.* billing +not_found, 1 failed$`),
    );
    expect(jsonOf(await run('list', '--all', '--json'))).toHaveLength(3);
  });

  it('finds by status, command and who asked, and says when there are more', async () => {
    const failed = await store(ended('failed'));
    const partial = await store({ ...ended('partial'), command: 'syncAll' });
    const pending = await store({ command: 'syncAll', requestedBy: 'ops' });
    const idsOf = async (...args: string[]): Promise<unknown[]> =>
      jsonOf(await run('list', '--json', ...args)).map(({ _id }) => _id);

    expect(await idsOf('--failed')).toEqual([partial, failed].map(String));
    expect(await idsOf('--status', 'pending,failed')).toEqual([pending, failed].map(String));
    expect(await idsOf('--command', 'syncAll', '--status', 'partial')).toEqual([String(partial)]);
    expect(await idsOf('--command', 'syncAll')).toEqual([pending, partial].map(String));
    expect(await idsOf('--requested-by', 'ops')).toEqual([String(pending)]);
    expect((await run('list', '--limit', '2')).stderr).toBe(
      'There are more than 2; a higher --limit shows them',
    );
    expect(await run('list', '--status', 'cancelled')).toMatchObject({
      code: 0,
      stdout: '',
      stderr: `No matching requests in ${database.name}`,
    });
  });

  it("shows cron's successes to whoever asks for cron, and says to others where they are left out", async () => {
    const cron = await store({ ...ended('succeeded'), requestedBy: 'cron' });
    const own = await store({ ...ended('succeeded'), requestedBy: 'ops' });
    const idsOf = async (...args: string[]): Promise<unknown[]> =>
      jsonOf(await run('list', '--json', ...args)).map(({ _id }) => _id);

    expect(await idsOf('--requested-by', 'cron')).toEqual([String(cron)]);
    expect(await idsOf('--requested-by', 'cron', '--status', 'succeeded')).toEqual([String(cron)]);
    expect(await idsOf('--status', 'succeeded')).toEqual([String(own)]);
    const { stderr } = await run('list', '--status', 'succeeded');
    expect(stderr).toBe('Successful requests of cron are left out; --all includes them');
    await requests.deleteOne({ _id: own });
    expect((await run('list', '--status', 'succeeded')).stderr).toBe(
      `No matching requests in ${database.name} (--all includes successful requests of cron)`,
    );
    expect((await run('list', '--status', 'failed')).stderr).not.toContain('cron');
  });

  it('says that it has not looked at all only where that is so', async () => {
    await store({ requestedBy: 'ops' });

    expect((await run('list', '--requested-by', 'ops')).stderr).toBe('');

    await requests.insertMany(Array.from({ length: 10_000 }, () => ({ command: 'syncAll' })) as never); // the driver adds _id
    const { stdout, stderr } = await run('list', '--requested-by', 'ops');
    expect(stdout).toBe('');
    expect(stderr.split('\n').at(-1)).toBe('Searched only the newest 10,000 for --requested-by');
  });

  it('shows what anybody may have written without a fault, and lets none of it reach the terminal as a command', async () => {
    await requests.insertMany(
      [
        { command: 7, status: ['odd'] },
        { command: 'sync\u001b[2J\nAll', attempts: 'many', history: 5, requestedBy: { a: 1 } },
        { ...ended('succeeded'), result: { items: 5 }, progress: 'x', lease: null, error: [1] },
        { ...ended('failed'), command: 'syncAll', error: { code: { $x: 1 } }, startedAt: 'soon' },
      ] as never, // as a user of any language may
    );

    const list = await run('list');
    const ids = jsonOf(await run('list', '--json')).map(({ _id }) => String(_id));

    expect(linesOf(list)).toHaveLength(5);
    // eslint-disable-next-line no-control-regex -- that is what must not be there
    expect(list.stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f]/);
    for (const id of ids) expect(await run('show', id)).toMatchObject({ code: 0, stderr: '' });
  });

  it('keeps within the width of a terminal', async () => {
    await store(
      ended('failed', { error: { code: 'attempts_exhausted', message: '' }, requestedBy: 'x'.repeat(200) }),
    );
    const screen = { columns: 80, rows: 24, write: () => undefined };

    const { stdout } = await callCommandLine(['requests', 'list'], env, { screen });

    expect(Math.max(...stdout.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(80);
    expect(stdout).toContain('attempts_exhausted');
  });

  it.each<[string, string[]]>([
    ['anything', []],
    ['a status', ['--status', 'failed,partial']],
    ['a command', ['--command', 'syncAll']],
    ['a command of a status', ['--command', 'syncAll', '--status', 'pending']],
    ['somebody', ['--requested-by', 'ops']],
  ])('asks along an index for %s', async (_, args) => {
    const { db } = database;
    await db.command({ profile: 2, filter: { op: 'command', 'command.aggregate': 'sync_requests' } });

    await run('list', ...args);

    await db.command({ profile: 0 });
    const [asked] = await db.collection('system.profile').find().sort({ $natural: 1 }).toArray();
    await db.collection('system.profile').drop();
    expect(asked).toMatchObject({ planSummary: expect.stringMatching(/^IXSCAN/) as string });
  });
});

const counts = { created: 0, updated: 0, unchanged: 0, deleted: 0, stale: 0, failed: 0 };

describe('requests show', () => {
  it('shows how it ended, what was asked, its attempts, and its items with those that failed first', async () => {
    const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second));
    const items = Array.from({ length: 30 }, (_, index) => ({
      id: `cus_${index}`,
      outcome: index === 29 ? 'failed' : 'updated',
      ...(index === 29 && { code: 'not_in_account', message: 'Stripe has no such customer' }),
    }));
    const id = await store({
      command: 'syncByIds',
      ids: items.map((item) => item.id),
      requestedBy: 'billing',
      dedupeKey: 'invoice-7',
      ...ended('partial', {
        startedAt: at(0),
        finishedAt: at(2),
        result: { ...counts, updated: 29, failed: 1, items },
      }),
      history: [{ attempt: 1, startedAt: at(0), finishedAt: at(2), owner: 'pod-a' }],
    });

    const { code, stdout } = await run('show', String(id));

    expect(code).toBe(0);
    expect(stdout).toContain(`syncByIds partial in 2 s (request ${String(id)})`);
    expect(stdout).toMatch(/^asked for +syncByIds of 30 customers: cus_0, cus_1, .* and 25 more$/m);
    expect(stdout).toMatch(/^dedupe key +invoice-7$/m);
    expect(stdout).toMatch(/^finished +2026-01-01 00:00:02Z \(/m);
    expect(stdout).toMatch(/^ +1 {2}2026-01-01 00:00:00Z {2} *2s {2}pod-a/m);
    expect(stdout).toMatch(/^cus_29 +failed +not_in_account +Stripe has no such customer\ncus_0 +updated$/m);
    expect(stdout.split('\n').at(-1)).toBe('and 10 more, which --json lists');
  });

  it('prints all of it as JSON, whatever BSON is in it, and of a batch the ids alone', async () => {
    const id = await store({
      command: 'syncBatch',
      batch: [{ id: 'cus_1', email: 'canary@example.com' }],
      own: { long: mongo.Long.fromString('9007199254740993'), binary: new mongo.Binary(Buffer.from('x')) },
    });

    const { stdout } = await run('show', String(id), '--json');

    expect(JSON.parse(stdout)).toMatchObject({
      _id: String(id),
      batch: ['cus_1'],
      own: { long: expect.anything() as unknown, binary: expect.anything() as unknown },
    });
    expect(stdout).not.toContain('canary');
  });

  it('ends with 2 for what cannot be an id, and with 1 for one that is not there', async () => {
    expect(await run('show', '')).toMatchObject({
      code: 2,
      stderr: 'error: The id of a request must have 1 to 256 characters, got 0',
    });
    expect((await run('show', 'order-7')).stderr).toMatch(
      /^error: There is no request order-7 in the database/,
    );
    const missing = await run('show', '0'.repeat(24));
    expect(missing).toMatchObject({ code: 1, stdout: '' });
    expect(missing.stderr).toMatch(/^error: There is no request 0{24} in the database/);
  });
});

describe('a request whose _id its user has chosen', () => {
  it('is shown, retried, watched and cancelled by it, as one with an ObjectId is', async () => {
    const named = 'order-7' as unknown as mongo.ObjectId; // users choose the type
    await store({ _id: named, ...ended('failed') });

    expect((await run('show', 'order-7')).stdout).toContain('(request order-7)');
    expect((await run('retry', 'order-7')).stdout).toBe('request order-7 (softDelete) is queued again');
    await lab.worker({ runner: quickRunner() });
    expect(await run('watch', 'order-7')).toMatchObject({ code: 0 });
    expect((await run('cancel', 'order-7')).stderr).toBe(
      'error: Request order-7 has already ended: succeeded',
    );
  });

  it('gives way to one with the ObjectId of the same digits', async () => {
    const id = await store(ended('failed'));
    const digits = String(id) as unknown as mongo.ObjectId; // users choose the type
    await store({ _id: digits, ...ended('succeeded') });

    expect((await run('show', String(id).toUpperCase())).stdout).toContain('softDelete failed');
    await requests.deleteOne({ _id: id });
    expect((await run('show', String(id))).stdout).toContain('softDelete succeeded');
  });
});

describe('requests retry', () => {
  it('has it run again at once, with attempts begun anew and a wish to cancel forgotten', async () => {
    const id = await store(
      ended('failed', {
        cancel: true,
        runAt: new Date(Date.now() + 86_400_000),
        error: { code: 'internal', message: '' },
      }),
    );
    const runner = quickRunner();
    // It is the change stream that tells of it: nobody looks for the next minute.
    await lab.worker({ runner, feed: true, settings: { pollIntervalMs: 60_000 } });

    const { code, stdout } = await run('retry', String(id), '--wait');

    expect({ code, stdout }).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^softDelete succeeded/) as string,
    });
    expect(runner.runs.map(({ context }) => context.attempt)).toEqual([1]);
    expect(await lab.read(id)).toMatchObject({ status: 'succeeded', attempts: 1 });
    expect(await lab.read(id)).not.toHaveProperty('cancel');
    expect(await lab.read(id)).not.toHaveProperty('error');
  });

  it('without --wait says that it waits again, and ends', async () => {
    const id = await store(ended('cancelled'));

    expect(await run('retry', String(id))).toEqual({
      code: 0,
      stdout: `request ${String(id)} (softDelete) is queued again`,
      stderr: '',
    });
    expect(await lab.read(id)).toMatchObject({ status: 'pending', runAt: expect.any(Date) as Date });
  });

  it('refuses one that has not ended, or has lost its batch, by name, and goes on with the others', async () => {
    const waiting = await store({});
    const batch = await store({ command: 'syncBatch', batch: ['cus_1'], ...ended('succeeded') });
    const fine = await store(ended('failed'));

    const { code, stdout, stderr } = await run('retry', ...[waiting, batch, fine].map(String));

    expect(code).toBe(1);
    expect(stdout).toContain(`request ${String(fine)} (softDelete) is queued again`);
    expect(stderr.split('\n')).toEqual([
      `error: Request ${String(waiting)} is already waiting: only a request that has ended can be retried`,
      expect.stringMatching(
        `^error: Request ${String(batch)} has succeeded and keeps only the ids of its batch`,
      ),
    ]);
    expect(await lab.read(batch)).toMatchObject({ status: 'succeeded' });
  });

  it('with --failed has all of them run again that failed as it is said', async () => {
    const at = (minutes: number) => ({ finishedAt: new Date(Date.now() - minutes * 60_000) });
    const failed = await store(ended('failed', { requestedBy: 'billing' }));
    const partial = await store(ended('partial', { command: 'syncAll' }));
    const old = await store({ ...ended('failed'), ...at(60) });
    const fine = await store(ended('succeeded'));
    const waitingIds = async (): Promise<unknown[]> =>
      (await requests.find({ status: 'pending' }).sort({ _id: 1 }).toArray()).map(({ _id }) => _id);
    const halfAnHourAgo = new Date(Date.now() - 1_800_000).toISOString();

    await run('retry', '--failed', '--command', 'syncAll');
    expect(await waitingIds()).toEqual([partial]);
    await run('retry', '--failed', '--requested-by', 'billing');
    expect(await waitingIds()).toEqual([failed, partial]);
    await requests.updateMany({}, { $set: { status: 'failed' } });
    await requests.updateOne({ _id: fine }, { $set: { status: 'succeeded' } });
    await requests.updateMany({ _id: { $in: [failed, partial] } }, { $set: at(1) });
    const { code, stdout } = await run('retry', '--failed', '--since', halfAnHourAgo);
    expect(await waitingIds()).toEqual([failed, partial]);
    expect({ code, lines: stdout.split('\n').length }).toEqual({ code: 0, lines: 2 });
    await run('retry', '--failed');
    expect(await waitingIds()).toEqual([failed, partial, old]);
    expect(await run('retry', '--failed')).toEqual({
      code: 0,
      stdout: '',
      stderr: `No matching requests in ${database.name}`,
    });
  });

  it('names the request that holds the dedupeKey by now', async () => {
    const id = await store(ended('failed', { dedupeKey: 'k' }));
    const holder = await store({ dedupeKey: 'k' });

    const { code, stderr } = await run('retry', String(id));

    expect(code).toBe(1);
    expect(stderr).toBe(
      `error: Request ${String(id)} cannot run again: its dedupeKey "k" is held by request ${String(holder)} (softDelete, pending)`,
    );
    expect(await lab.read(id)).toMatchObject({ status: 'failed' });
  });
});

describe('requests cancel', () => {
  it('ends one that waits and one that runs, and tells what was done', async () => {
    const runner = heldRunner();
    await lab.worker({ runner, settings: { concurrency: 1 } });
    const running = await store({});
    await runner.nth(1);
    const waiting = await store({ runAt: new Date(Date.now() + 86_400_000) });

    const { code, stdout } = await run('cancel', String(running), String(waiting));

    expect(code).toBe(0);
    expect(stdout).toMatch(/^softDelete cancelled .*\(2 requests\)$/);
    expect(await lab.read(running)).toMatchObject({ status: 'cancelled' });
    expect(await lab.read(waiting)).toMatchObject({ status: 'cancelled' });
  });

  it('refuses one that has ended, is content with one that is cancelled, and with --no-wait does not follow', async () => {
    const succeeded = await store(ended('succeeded'));
    const cancelled = await store(ended('cancelled'));
    const waiting = await store({});

    expect(await run('cancel', String(succeeded))).toMatchObject({
      code: 1,
      stderr: `error: Request ${String(succeeded)} has already ended: succeeded`,
    });
    expect(await run('cancel', String(cancelled))).toMatchObject({ code: 0 });
    expect(await run('cancel', String(waiting), '--no-wait')).toEqual({
      code: 0,
      stdout: `request ${String(waiting)} (softDelete) will be cancelled`,
      stderr: '',
    });
    expect(await lab.read(waiting)).toMatchObject({ cancel: true });
  });
});

describe('requests watch', () => {
  it('prints a line a change, and ends with 0 on Ctrl-C', async () => {
    const before = await store(ended('succeeded'));
    const waiting = await store({});
    const watching = startProcess({ args: ['requests', 'watch', '--json'], env });
    const seen = (): AnyDocument[] => watching.lines.flatMap(({ json }) => (json ? [json] : []));
    const until1 = (id: mongo.ObjectId, status: string | undefined) =>
      until(() => seen().some((each) => each['_id'] === String(id) && each['status'] === status), {
        what: `a line of ${String(status)}`,
        timeoutMs: 30_000,
      });

    await until1(waiting, undefined);
    await requests.updateOne({ _id: waiting }, { $set: { status: 'running' } });
    await until1(waiting, 'running');
    const later = await store({ ...ended('failed'), requestedBy: 'ops' });
    await store({ ...ended('succeeded'), requestedBy: 'cron' });
    await until1(later, 'failed');
    await requests.updateOne({ _id: waiting }, { $set: { status: 'succeeded', finishedAt: new Date() } });
    await until1(waiting, 'succeeded');
    watching.signal('SIGINT');

    expect(await watching.exit).toEqual({ code: 0, signal: null });
    expect(errorsOf(watching)).toBe('');
    expect(seen().map(({ _id, status }) => [_id, status])).toEqual([
      [String(waiting), undefined],
      [String(waiting), 'running'],
      [String(later), 'failed'],
      [String(waiting), 'succeeded'],
    ]);
    expect(seen().map(({ _id }) => _id)).not.toContain(String(before));
  });

  it('with an id ends with it, and with the exit code of its outcome', async () => {
    const failed = await store(ended('failed', { error: { code: 'internal', message: 'A defect' } }));
    const succeeded = await store(ended('succeeded'));

    expect(await run('watch', String(succeeded))).toMatchObject({ code: 0 });
    expect(await run('watch', String(failed))).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('internal: A defect') as string,
    });
    expect((await run('watch', String(failed), '--json')).stdout).toMatch(/^\{.*"status":"failed".*\}$/);
    expect(await run('watch', '0'.repeat(24))).toMatchObject({ code: 1 });
  });
});
