// Values that JSON lacks or rounds: what a batch may hold, and integers that no number of JavaScript does.
import { mongo } from 'mongoose';
import { expect, test } from 'vitest';
import { countsOf, startDaemon, UserOfQueue } from '../support/daemon.js';
import { freshDatabase } from '../support/database.js';
import { connect, startStripe } from '../support/library.js';

const large = 9_007_199_254_740_993n;

test('an integer beyond 2^53 is mirrored as it is, from a list, by id and from a file of ours', async () => {
  const database = freshDatabase();
  const simulator = await startStripe();
  const json = `{"id":"cus_1","object":"customer","created":1,"livemode":false,"balance":${large},"deep":{"a":[-${large}]}}`;
  simulator.createRaw(json);
  const { action } = await connect(database, simulator);
  const stored = () =>
    database.db
      .collection<{ _id: string }>('stripe_customers')
      .findOne({ _id: 'cus_1' }, { useBigInt64: true });

  expect(await action.syncAll()).toMatchObject({ created: 1 });
  expect(await stored()).toMatchObject({ balance: large, deep: { a: [-large] } });
  expect(await action.syncAll()).toMatchObject({ unchanged: 1 });
  expect(await action.syncByIds(['cus_1'])).toMatchObject({ unchanged: 1 });
  const whole = { id: 'cus_1', object: 'customer', created: 1, livemode: false };
  expect(
    await action.syncBatch([{ ...whole, balance: large, deep: { a: [mongo.Long.fromBigInt(-large)] } }]),
  ).toMatchObject({ unchanged: 1 });
  expect(await action.syncBatch([{ ...whole, balance: large - 1n, deep: { a: [-large] } }])).toMatchObject({
    updated: 1,
  });
});

test('whole batches with values of BSON are compared by value, in a request as in the library', async () => {
  const database = freshDatabase();
  const simulator = await startStripe();
  const user = new UserOfQueue(database.db);
  const daemon = startDaemon(database, simulator);
  await daemon.ready();
  const { action } = await connect(database, simulator);
  const values = {
    at: new Date(1),
    pattern: /a/gi,
    ref: new mongo.ObjectId('0'.repeat(24)),
    price: mongo.Decimal128.fromString('1.10'),
    long: mongo.Long.fromBigInt(large),
    small: mongo.Long.fromNumber(5),
    bytes: new mongo.Binary(Buffer.from('abc'), 5),
    uuid: new mongo.UUID('00000000-0000-4000-8000-000000000000'),
    stamp: new mongo.Timestamp(1n << 40n),
    least: new mongo.MinKey(),
  };
  const whole = { id: 'cus_1', object: 'customer', created: 1, livemode: false, metadata: {}, values };
  const others: Record<keyof typeof values, unknown> = {
    at: new Date(2),
    pattern: /a/g,
    ref: new mongo.ObjectId('1'.repeat(24)),
    price: mongo.Decimal128.fromString('1.1'),
    long: mongo.Long.fromBigInt(large - 1n),
    small: 6,
    bytes: new mongo.Binary(Buffer.from('abc'), 0),
    uuid: new mongo.UUID('00000000-0000-4000-8000-000000000001'),
    stamp: new mongo.Timestamp(1n << 41n),
    least: new mongo.MaxKey(),
  };

  expect(await action.syncBatch([whole])).toMatchObject({ created: 1 });
  expect(countsOf(await user.run({ command: 'syncBatch', batch: [whole], observedAt: new Date() }))).toEqual({
    unchanged: 1,
  });
  let now = values as Record<string, unknown>;
  for (const [name, other] of Object.entries(others)) {
    now = { ...now, [name]: other };
    const changed = [{ ...whole, values: now }];
    expect(await action.syncBatch(changed), name).toMatchObject({ updated: 1 });
    const repeated = await user.run({ command: 'syncBatch', batch: changed, observedAt: new Date() });
    expect(countsOf(repeated), name).toEqual({ unchanged: 1 });
  }
});
