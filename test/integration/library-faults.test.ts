// What goes wrong for an application that uses the library is a Fault that says what to do.
import mongoose from 'mongoose';
import { describe, expect, test } from 'vitest';
import { createLogger } from '../../src/base/logger.js';
import { StripeCustomerAction } from '../../src/index.js';
import { freshDatabase } from '../support/database.js';
import { connect, faultOf, startStripe } from '../support/library.js';
import { freePort } from '../support/process.js';

describe('what goes wrong', () => {
  test('at the start is a Fault that says what to do', async () => {
    const database = freshDatabase();
    const simulator = await startStripe();
    const connectWith = (config: object) =>
      faultOf(
        StripeCustomerAction.connect({
          config,
          connection: mongoose.createConnection(),
          logger: createLogger({ level: 'silent', format: 'json' }),
        }),
      );
    const stripe = { apiKey: simulator.restrictedKey, apiBase: simulator.url };
    const mongodb = { uri: database.uri };

    expect(await connectWith({})).toMatchObject({
      code: 'invalid_config',
      message: expect.stringMatching(/STRIPE_API_KEY is required.*MONGODB_URI is required/) as string,
    });
    expect(
      await connectWith({ mongodb, stripe: { ...stripe, apiKey: 'rk_test_neverMade0000' } }),
    ).toMatchObject({
      code: 'stripe_key_refused',
      kind: 'fatal',
    });
    const nobody = `mongodb://127.0.0.1:${await freePort()}/stripe`;
    expect(await connectWith({ stripe, mongodb: { uri: nobody, connectDeadlineMs: 1_000 } })).toMatchObject({
      code: 'mongodb_unavailable',
      kind: 'fatal',
    });
    expect(await database.db.collection('stripe_customers').countDocuments()).toBe(0);
  });

  test('at the start ends with the reason of an abort', async () => {
    const simulator = await startStripe();
    const reason = new Error('Not today');
    const abort = new AbortController();
    const fault = simulator.hold({ endpoint: 'GET /v1/account', when: 'before-compute' });
    const { uri } = freshDatabase();
    const connecting = StripeCustomerAction.connect({
      connection: mongoose.createConnection(),
      config: { stripe: { apiKey: simulator.restrictedKey, apiBase: simulator.url }, mongodb: { uri } },
      signal: abort.signal,
    }).catch((error: unknown) => error);
    await fault.arrived;

    abort.abort(reason);

    expect(await connecting).toBe(reason);
  });

  test('on the way is a Fault that says whether trying again helps', async () => {
    const database = freshDatabase();
    const simulator = await startStripe({ seed: { count: 3 } });
    const [id] = simulator.listIds() as [string];
    const { action } = await connect(database, simulator, {
      stripe: { callDeadlineMs: 400, attemptTimeoutMs: 200 },
    });

    simulator.fault({ kind: 'status', status: 500, times: Infinity });
    expect(await faultOf(action.syncByIds([id]))).toMatchObject({
      code: 'stripe_unavailable',
      kind: 'retryable',
      statusCode: 500,
    });
    expect(await faultOf(action.syncAll())).toMatchObject({ code: 'stripe_unavailable', kind: 'retryable' });
    simulator.clearFaults();
    const failpoint = await database.failCommand({
      failCommands: ['find', 'update', 'insert', 'findAndModify'],
      errorCode: 13,
    });
    expect(await faultOf(action.syncBatch([{ id }]))).toMatchObject({
      code: 'mongodb_rejected',
      kind: 'terminal',
    });
    expect(await faultOf(action.syncAll())).toMatchObject({ code: 'mongodb_rejected', kind: 'terminal' });
    await failpoint.off();
    expect(await action.syncAll()).toMatchObject({ created: 3 });
  });

  test('after close is a Fault, too, and work under way ends with one', async () => {
    const simulator = await startStripe({ seed: { count: 3 } });
    const [id] = simulator.listIds() as [string];
    const { action } = await connect(freshDatabase(), simulator);
    const held = simulator.hold({ endpoint: 'GET /v1/customers/{id}', when: 'before-compute' });
    const working = faultOf(action.syncByIds([id]));
    await held.arrived;

    await action.close();

    expect(await working).toMatchObject({ code: 'shutdown', kind: 'retryable' });
    expect((await faultOf(action.syncByIds([id]))).kind).toBe('retryable');
    expect((await faultOf(action.syncAll())).kind).toBe('retryable');
    expect((await faultOf(action.syncBatch([{ id }]))).kind).toBe('retryable');
  });
});
