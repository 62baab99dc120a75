// The composition root of `run`: what starts and stops, and in which order.
import { performance } from 'node:perf_hooks';
import mongoose from 'mongoose';
import { Fault } from './base/errors.js';
import type { Lifecycle } from './base/lifecycle.js';
import type { Logger } from './base/logger.js';
import { Operations, runnerOf } from './operations.js';
import type { LoadedConfig } from './config/load.js';
import { startHttpServer } from './http/server.js';
import { createMetrics, type Metrics } from './metrics/metrics.js';
import { ping } from './mongo/connection.js';
import { RequestWorker } from './requests/worker/worker.js';
import { resources } from './resources/registry.js';
import { startSchedule } from './schedule/schedule.js';
import { openServices, type Services } from './services.js';
import { readDatabaseStats } from './status/database-stats.js';
import { stateOf } from './mongo/sync-state.js';
import { limitsFor } from './rate/limits.js';
import { countCalls, startPresence } from './status/replicas.js';
import { serviceVersion } from './base/version.js';

/** Readiness asks MongoDB; its answer must come within this. */
const pingTimeoutMs = 1_500;
/** The poll loop is taken for dead after so many missed turns, and never before a frozen MongoDB could have been left. */
const missedPolls = 6;
const leastStallMs = 30_000;

/**
 * Runs the daemon until its lifecycle stops. HTTP comes first and goes last, so that probes and scrapes are answered while everything else
 * starts and stops.
 * @throws a fatal Fault that says what to do when it cannot start
 */
export async function runDaemon(
  { config, readSecret }: LoadedConfig,
  lifecycle: Lifecycle,
  logger: Logger,
): Promise<void> {
  const metrics = createMetrics({
    stripeApiVersion: config.stripe.apiVersion,
    monthlyReadAllowance: config.stripe.monthlyReadAllowance,
    onFault: (error) => logger.warn({ err: error }, 'Metrics of the database could not be read'),
  });
  const state: { services?: Services; worker?: RequestWorker; waitsFor?: string } = {};
  const http = await startHttpServer({
    ...config.http,
    logger,
    metrics: {
      contentType: metrics.contentType,
      render: () => {
        tellStates(metrics.observer, state);
        return metrics.render();
      },
    },
    liveness: { poll: () => stalledPoll(state.worker, config.requests.pollIntervalMs) },
    readiness: {
      startup: () => (state.worker ? undefined : `Waiting for ${state.waitsFor ?? 'MongoDB'}`),
      shutdown: () => (lifecycle.signal.aborted ? 'Stopping' : undefined),
      mongodb: () => unreachable(mongoose.connection),
    },
  });
  lifecycle.onStop('http', () => http.close());
  logger.info({ url: http.url }, 'Listening');

  const calls = countCalls(metrics.observer);
  const services = await openServices({
    config,
    connection: mongoose.connection,
    readKey: readSecret('stripe.apiKey'),
    logger,
    observer: { ...metrics.observer, callFinished: calls.callFinished },
    isPatient: true,
    onWait: (waitsFor) => {
      state.waitsFor = waitsFor;
    },
    signal: lifecycle.signal,
  });
  lifecycle.onStop('services', () => services.close());
  metrics.readFrom(() => readDatabaseStats(services.db, resources));
  lifecycle.onStop('database metrics', () => metrics.readFrom(undefined));
  state.services = services;

  // Told until the worker has let go of everything.
  const running = () => state.worker?.running ?? { small: 0, scan: 0 };
  const { callsPerSecond, callsPerSecondPerEndpoint } = limitsFor(config.stripe, services.gateway.livemode);
  const presence = startPresence({
    states: stateOf(services.db),
    owner: services.owner,
    vitals: () => ({
      version: serviceVersion,
      ...config.syncAll,
      limits: { callsPerSecond, callsPerSecondPerEndpoint },
      callsPerSecond: calls.lately(),
      running: running(),
    }),
    onFault: (error) => logger.debug({ err: error }, 'Replicas are not told of this one'),
  });
  lifecycle.onStop('presence', () => presence.stop());

  const worker = new RequestWorker({
    connection: services.connection,
    settings: config.requests,
    feed: config.requests.changeStream,
    runner: runnerOf(new Operations(services)),
    logger,
    owner: services.owner,
    onFatal: (fault) => lifecycle.fail(fault),
    observer: metrics.observer,
  });
  lifecycle.onStop('worker', async (withinMs) => {
    const { left } = await worker.drain({ withinMs });
    if (left > 0) throw leftBehind(left);
  });
  worker.start();
  state.worker = worker;

  const schedule = startSchedule({
    connection: services.connection,
    ...config.syncAll,
    ...config.schedule,
    owner: services.owner,
    logger,
    observer: metrics.observer,
    pollIntervalMs: config.requests.pollIntervalMs,
  });
  lifecycle.onStop('schedule', () => schedule.stop());
  const { intervalSeconds } = schedule;
  if (intervalSeconds !== undefined)
    metrics.observer.scheduleStarted({ schedule: 'syncAll', intervalSeconds });
  const { livemode } = services.gateway;
  logger.info({ livemode, owner: services.owner, startMs: Math.round(performance.now()) }, 'Started');
  await lifecycle.untilStop();
}

const leftBehind = (count: number): Fault =>
  new Fault(
    'shutdown',
    `Requests that did not stop in time: ${count}; they are taken over when their leases have run out`,
    { kind: 'retryable' },
  );

/** What is a state rather than an event is told when somebody asks. */
function tellStates(
  observer: Metrics['observer'],
  { services, worker }: { readonly services?: Services; readonly worker?: RequestWorker },
): void {
  if (services) {
    observer.rateChanged(services.gateway.effectiveRate() ?? 0);
    observer.rateConfigured(services.gateway.configuredRate);
    observer.keyRefused(services.gateway.keyRefusals());
  }
  if (worker?.lastPollAt !== undefined) observer.polled(performance.now() - worker.lastPollAt);
}

function stalledPoll(worker: RequestWorker | undefined, pollIntervalMs: number): string | undefined {
  if (worker?.lastPollAt === undefined) return undefined;
  const sinceMs = performance.now() - worker.lastPollAt;
  const allowedMs = Math.max(leastStallMs, missedPolls * pollIntervalMs);
  return sinceMs <= allowedMs
    ? undefined
    : `The poll loop has stood still for ${Math.round(sinceMs / 1_000)} s`;
}

async function unreachable(connection: mongoose.Connection): Promise<string | undefined> {
  if (connection.readyState !== mongoose.ConnectionStates.connected) return 'Not connected';
  return (await ping(connection, pingTimeoutMs)) ? undefined : 'MongoDB does not answer';
}
