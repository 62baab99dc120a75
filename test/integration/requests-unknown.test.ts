// What this version does not know may be another's: an unknown command, or an unknown status beside a lease, has ten minutes in which
// nobody has worked on it before it fails.
import type { mongo } from 'mongoose';
import { describe, expect, test } from 'vitest';
import { ensureRequestIndexes } from '../../src/requests/indexes.js';
import { silentRequestsObserver } from '../../src/requests/observer.js';
import { Sweeper } from '../../src/requests/upkeep/sweep.js';
import { freshDatabase } from '../support/database.js';
import { type AnyDocument, idOfAge, quickSettings, requestsLab } from '../support/requests.js';

const minutes = 60_000;
const inMinutes = (count: number): Date => new Date(Date.now() + count * minutes);
const millennium = new Date('3000-01-01T00:00:00Z');
const theirs = { command: 'syncEverything' };

async function openHouse() {
  const lab = requestsLab(freshDatabase());
  const place = await lab.connect();
  await ensureRequestIndexes(place);
  const house = new Sweeper(place, quickSettings, lab.logger, silentRequestsObserver);
  const sweep = () => house.sweep(AbortSignal.timeout(20_000));
  return { lab, sweep };
}

/** An attempt of a newer daemon that has ended. */
const attempt = (finishedAt: Date) => ({ attempt: 1, startedAt: finishedAt, finishedAt, owner: 'newer' });
const put = { lease: { owner: 'newer', fence: 3 } };

describe('an unknown command', () => {
  test.each<[string, AnyDocument]>([
    [
      'a newer daemon has just set back after a fault',
      { _id: idOfAge(20 * minutes), ...put, attempts: 1, history: [attempt(inMinutes(-1))] },
    ],
    ['is to run tomorrow', { _id: idOfAge(11 * minutes), runAt: inMinutes(1_440) }],
    ['came due a minute ago', { _id: idOfAge(600 * minutes), runAt: inMinutes(-1) }],
    ['has just been set back by hand', { _id: idOfAge(9_000 * minutes), status: 'pending', ...put }],
    [
      'ended a minute ago and is set back by hand',
      { _id: idOfAge(9_000 * minutes), status: 'pending', finishedAt: inMinutes(-1) },
    ],
    ['was inserted by a client whose clock is slow', { _id: idOfAge(15 * minutes) }],
    ['was inserted by a client whose clock is fast', { _id: idOfAge(-9_000 * minutes) }],
    ['has an _id that tells no time', { _id: 'mine' }],
    ['says that it was seen in the year 3000', { unknownSince: millennium }],
  ])('that %s is left for another version', async (_name, document) => {
    const { lab, sweep } = await openHouse();
    const [id] = await lab.insert({ ...theirs, ...document });

    await sweep(); // seen for the first time
    await sweep();

    expect(['pending', undefined]).toContain((await lab.read(id!))['status']);
  });

  test.each<[string, AnyDocument]>([
    ['was seen first', {}],
    ['came due', { runAt: inMinutes(-11) }],
    ['was put down by its last holder', { ...put, history: [attempt(inMinutes(-11))] }],
    [
      'and says that it will end in the year 3000',
      { finishedAt: millennium, history: [attempt(millennium)] },
    ],
  ])('fails when nobody has worked on it for ten minutes since it %s', async (_name, document) => {
    const { lab, sweep } = await openHouse();
    const [id] = await lab.insert({ ...theirs, ...document, unknownSince: inMinutes(-11) });

    await sweep();

    const failed = await lab.read(id!);
    expect(failed).toMatchObject({ status: 'failed', error: { code: 'unknown_command' } });
    expect(failed).not.toHaveProperty('unknownSince');
  });

  test('that was put off or worked on since it was seen first gets its ten minutes anew', async () => {
    const { lab, sweep } = await openHouse();
    const seen = { ...theirs, unknownSince: inMinutes(-60) };
    const ids = await lab.insert(
      { ...seen, runAt: inMinutes(30) },
      { ...seen, runAt: inMinutes(-9) },
      { ...seen, ...put, history: [attempt(inMinutes(-30)), attempt(inMinutes(-9))] },
      { ...seen, finishedAt: inMinutes(-9) },
    );

    await sweep();

    for (const id of ids) expect(await lab.read(id)).not.toHaveProperty('status');
  });
});

describe('an unknown status', () => {
  const lease = { owner: 'newer', fence: 3, expiresAt: inMinutes(1) };
  const odd = (document: AnyDocument) => ({ command: 'syncAll', status: 'verifying', ...document });

  test('beside a lease has the same ten minutes, and without one none', async () => {
    const { lab, sweep } = await openHouse();
    const [held, late, stale, forged] = await lab.insert(
      odd({ lease }),
      odd({ lease, unknownSince: inMinutes(-60) }),
      odd({ lease: { ...lease, expiresAt: inMinutes(-11) }, unknownSince: inMinutes(-11) }),
      odd({}),
    );

    await sweep();

    const statusOf = async (id: mongo.ObjectId) => (await lab.read(id))['status'];
    expect(await Promise.all([held!, late!, stale!, forged!].map(statusOf))).toEqual([
      'verifying',
      'verifying',
      'failed',
      'failed',
    ]);
  });

  test('beside a lease of the year 3000 does not live for ever', async () => {
    const { lab, sweep } = await openHouse();
    const [id] = await lab.insert(
      odd({ lease: { ...lease, expiresAt: millennium }, unknownSince: inMinutes(-11) }),
    );

    await sweep();

    expect(await lab.read(id!)).toMatchObject({ status: 'failed', error: { code: 'invalid_request' } });
  });
});
