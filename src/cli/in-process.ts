// Opens everything that runs requests, for `--in-process`.
import type mongoose from 'mongoose';
import { runnerOf } from '../operations.js';
import { RequestWorker } from '../requests/worker/worker.js';
import { openServices } from '../services.js';
import type { CommandSettings, RequestWork } from './session.js';

/** @throws a fatal Fault that says what to do where MongoDB or Stripe cannot be used; the signal's reason */
export async function openWorker(
  { config, logger, workLogger, readSecret }: CommandSettings,
  connection: mongoose.Connection,
  signal: AbortSignal,
): Promise<RequestWork> {
  const services = await openServices({
    config,
    connection,
    readKey: readSecret('stripe.apiKey'),
    logger,
    signal,
  });
  const worker = new RequestWorker({
    database: services.database,
    settings: config.requests,
    runner: runnerOf(services),
    logger: workLogger,
    owner: services.owner,
    onFatal: () => undefined, // runOnce throws the fault
    feed: false,
  });
  return {
    work: async (ids, signal) => {
      for (const id of ids) await worker.runOnce(id, signal);
    },
    close: () => services.close(),
  };
}
