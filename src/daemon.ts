// The daemon, to be read from top to bottom: it starts in this order and stops in the reverse order.
import { performance } from 'node:perf_hooks';
import mongoose from 'mongoose';
import { Fault } from './base/errors.js';
import type { Lifecycle } from './base/lifecycle.js';
import type { Logger } from './base/logger.js';
import { serviceVersion } from './base/version.js';
import type { LoadedConfig } from './config/load.js';
import { startHttpServer } from './http/server.js';
import { createMetrics } from './metrics/metrics.js';
import { isRefusal } from './mongo/faults.js';
import { stateOf } from './mongo/sync-state.js';
import { runnerOf } from './operations.js';
import { RequestWorker } from './requests/worker/worker.js';
import { startSchedule } from './schedule/schedule.js';
import { openServices } from './services.js';
import { readDatabaseStats } from './status/database-stats.js';
import { Health } from './status/health.js';
import { countingCalls, startPresence } from './status/replicas.js';

/**
 * Runs the daemon until its lifecycle stops.
 * @throws a fatal Fault that says what to do when it cannot start
 */
export async function runDaemon(
  { config, readSecret }: LoadedConfig,
  lifecycle: Lifecycle,
  logger: Logger,
): Promise<void> {
  const { signal } = lifecycle;
  const { connection } = mongoose;
  const { pollIntervalMs } = config.requests;

  // HTTP starts first and stops last, so that it answers probes and scrapes during every other step.
  const metrics = createMetrics({
    stripeApiVersion: config.stripe.apiVersion,
    monthlyReadAllowance: config.stripe.monthlyReadAllowance,
    onFault: (error) => logger.warn({ err: error }, 'Metrics of the database cannot be read'),
  });
  const health = new Health({ connection, pollIntervalMs, signal });
  const { liveness, readiness } = health;
  const http = await startHttpServer({ ...config.http, logger, metrics, liveness, readiness });
  lifecycle.onStop('http', () => http.close());
  logger.info({ url: http.url }, 'Listening');

  // MongoDB with its collections, then Stripe; the key must be of the account that the database is bound to.
  const calls = countingCalls(metrics.observer);
  const { observer } = calls;
  const services = await openServices({
    config,
    connection,
    readKey: readSecret('stripe.apiKey'),
    logger,
    observer,
    isPatient: true,
    onWait: health.waitFor,
    signal,
  });
  lifecycle.onStop('services', () => services.close());
  const { database, owner, gateway } = services;
  metrics.readFrom(() => readDatabaseStats(database));
  lifecycle.onStop('database metrics', () => metrics.readFrom(undefined));

  // The heartbeat lasts until the worker has drained, because it reports which requests still run.
  const worker = new RequestWorker({
    database,
    settings: config.requests,
    feed: config.requests.changeStream,
    runner: runnerOf(services),
    logger,
    owner,
    onFatal: (fault) => lifecycle.fail(fault),
    observer,
  });
  const presence = startPresence({
    states: stateOf(database),
    owner,
    vitals: () => ({
      version: serviceVersion,
      ...config.syncAll,
      limits: services.rates,
      callsPerSecond: calls.lately(),
      running: worker.running,
    }),
    observer,
    onFault: (error) => {
      // People read heartbeats, and little depends on them. A refusal does not pass by itself.
      const level = isRefusal(error) ? 'warn' : 'debug';
      logger[level]({ err: error }, 'The heartbeat of this replica cannot be written');
    },
  });
  lifecycle.onStop('presence', () => presence.stop());

  // The worker claims requests and runs them. A stop drains it. Another replica takes over whatever does not
  // end in time, once its lease expires.
  lifecycle.onStop('worker', async (withinMs) => {
    const { left } = await worker.drain({ withinMs });
    if (left > 0) throw new Fault('shutdown', leftBehind(left));
  });
  worker.start();
  metrics.showStatesOf({ gateway, worker });
  health.started(worker);

  // The schedule inserts requests; it stops first.
  const schedule = startSchedule({
    database,
    ...config.syncAll,
    ...config.schedule,
    owner,
    logger,
    observer,
    pollIntervalMs,
  });
  lifecycle.onStop('schedule', () => schedule.stop());

  const { livemode } = gateway;
  logger.info({ livemode, owner, startMs: Math.round(performance.now()) }, 'Started');
  await lifecycle.untilStop();
}

const leftBehind = (count: number): string =>
  `Requests that did not stop in time: ${count}; other replicas take them over when their leases expire`;
