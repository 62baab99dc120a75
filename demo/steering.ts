// Acts of the demo on how one request is steered: a dry run, a key that dedupes, a wish to cancel.
import { note, document } from './show.js';
import { counts, noteInsertion, type Scene, show, showEnd } from './scene.js';

const manyIds = 400;

/** @returns how many customers differ from Stripe afterwards */
export async function dryRun(scene: Scene): Promise<number> {
  const { simulator, checks, db } = scene;
  const id = String(simulator.listIds()[3]);
  note(`${id} gets another name at Stripe`);
  const mirror = db.collection<{ _id: string }>('stripe_customers');
  simulator.update(id, { name: 'Changed in Stripe, too' });
  const before = await mirror.findOne({ _id: id });

  const planned = await show(scene, { command: 'syncByIds', ids: [id], dryRun: true });

  checks.equal(
    'a dry run tells what would be done',
    [planned.status, counts(planned)],
    ['succeeded', { updated: 1 }],
  );
  checks.equal('and writes nothing', await mirror.findOne({ _id: id }), before);
  return 1;
}

/** `done` is a request that has succeeded with this key. */
export async function dedupe({ requests, checks }: Scene, done: Record<string, unknown>): Promise<void> {
  note('The producer never heard of its success and inserts the same once more:');
  const refusal = await requests.insert({ ...done }).catch((error: unknown) => error);
  const { code, keyValue } = refusal as { code?: number; keyValue?: object }; // the driver's error, or an id
  document({ code, keyValue });
  checks.equal(
    'MongoDB refuses a key that is taken, also after success',
    [code, keyValue],
    [11_000, { dedupeKey: done['dedupeKey'] }],
  );
}

export async function cancel(scene: Scene): Promise<void> {
  const { simulator, requests, checks } = scene;
  const ids = simulator.listIds().slice(1_000, 1_000 + manyIds);
  noteInsertion(`{ command: 'syncByIds', ids: [ …${manyIds} of them ] }`);
  const id = await requests.insert({ command: 'syncByIds', ids });
  await requests.reaching(id, 'at work', ({ progress }) => (progress?.done ?? 0) > 0);
  note('While it runs: db.sync_requests.updateOne({ _id }, { $set: { cancel: true } })');
  await requests.update(id, { $set: { cancel: true } });

  const stopped = await requests.end(id);

  showEnd(stopped);
  const done = Object.values(counts(stopped)).reduce((sum, count) => sum + count, 0);
  checks.equal('a running request is cancelled on the way', stopped.status, 'cancelled');
  checks.equal('and tells what was done until then', done > 0 && done < manyIds, true);
}
