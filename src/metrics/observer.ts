// Turns the events of all parts into metrics. The parts define the events they emit; this satisfies them by structure, without
// importing them.
import { type Outcome, outcomes } from '../sync/outcome.js';
import { keyRefusals } from '../stripe/key.js';
import { catalog, labelValue } from './catalog.js';
import type { Instruments } from './instruments.js';

export interface MetricsObserver {
  /** A request was claimed, this long after it could have been. */
  requestClaimed(event: { readonly lane: string; readonly waitSeconds: number }): void;
  /** Requests ended: `count` of them alike; `seconds` of the last attempt, where one ran; `code` of the error, where they failed. */
  requestEnded(event: {
    readonly command: string;
    readonly status: string;
    readonly code?: string | undefined;
    readonly seconds: number | undefined;
    readonly result: Readonly<Record<Outcome, number>> | undefined;
    readonly count: number;
  }): void;
  /** Progress of the scan in this process, 0 to 1; undefined when none runs. */
  scanProgressed(ratio: number | undefined): void;
  /** One attempt of a call to Stripe ended. */
  callFinished(call: { readonly endpoint: string; readonly outcome: string; readonly seconds: number }): void;
  /** Stripe answered 429. */
  rateLimited(reason: string): void;
  /** A call waited this long for the limiter and a place in flight. */
  slotWaited(seconds: number): void;
  /** The limiter keeps this rate from now on; 0: unlimited. */
  rateChanged(callsPerSecond: number): void;
  /** The rate that the settings allow; 0: unlimited. */
  rateConfigured(callsPerSecond: number): void;
  /** All the reasons for which Stripe's key is refused at present. */
  keyRefused(reasons: readonly string[]): void;
  /** The poll loop turned last so many milliseconds ago. */
  polled(agoMs: number): void;
  /** A schedule runs, with this longest time between two of its slots. */
  scheduleStarted(event: { readonly schedule: string; readonly intervalSeconds: number }): void;
  /** A bulk write was acknowledged. */
  writeFinished(seconds: number): void;
  /** A slot of a schedule was decided. */
  slotDecided(event: { readonly schedule: string; readonly outcome: string }): void;
}

/** `object` is the kind of Stripe object that the requests are about. */
export function createObserver(instruments: Instruments, object = 'customer'): MetricsObserver {
  const { labels } = catalog.requests_total;
  return {
    requestClaimed: ({ lane, waitSeconds }) =>
      instruments.request_wait_seconds.observe(
        { lane: labelValue(catalog.request_wait_seconds.labels.lane, lane) },
        waitSeconds,
      ),
    requestEnded({ command, status, code = 'internal', seconds, result, count }) {
      const name = labelValue(labels.command, command);
      instruments.requests_total.inc({ command: name, status: labelValue(labels.status, status) }, count);
      if (status === 'failed') {
        const known = catalog.request_failures_total.labels.code;
        instruments.request_failures_total.inc({ code: labelValue(known, code) }, count);
      }
      if (seconds !== undefined) instruments.request_duration_seconds.observe({ command: name }, seconds);
      if (result)
        for (const outcome of outcomes) instruments.objects_total.inc({ object, outcome }, result[outcome]);
    },
    scanProgressed(ratio) {
      if (ratio === undefined) instruments.scan_progress_ratio.remove();
      else instruments.scan_progress_ratio.set(ratio);
    },
    callFinished({ endpoint, outcome, seconds }) {
      const known = catalog.stripe_calls_total.labels;
      const name = labelValue(known.endpoint, endpoint);
      instruments.stripe_calls_total.inc({ endpoint: name, outcome: labelValue(known.outcome, outcome) });
      instruments.stripe_call_duration_seconds.observe({ endpoint: name }, seconds);
    },
    rateLimited: (reason) =>
      instruments.stripe_rate_limited_total.inc({
        reason: labelValue(catalog.stripe_rate_limited_total.labels.reason, reason),
      }),
    slotWaited: (seconds) => instruments.rate_limiter_wait_seconds.observe(seconds),
    rateChanged: (callsPerSecond) =>
      instruments.rate_limiter_calls_per_second.set(callsPerSecond === 0 ? Infinity : callsPerSecond),
    rateConfigured: (callsPerSecond) =>
      instruments.rate_limiter_max_calls_per_second.set(callsPerSecond === 0 ? Infinity : callsPerSecond),
    keyRefused(reasons) {
      for (const reason of keyRefusals)
        instruments.stripe_key_refused.set({ reason }, reasons.includes(reason) ? 1 : 0);
    },
    polled: (agoMs) => instruments.last_poll_timestamp_seconds.set((Date.now() - agoMs) / 1_000),
    scheduleStarted({ schedule, intervalSeconds }) {
      const known = catalog.schedule_interval_seconds.labels.schedule;
      instruments.schedule_interval_seconds.set({ schedule: labelValue(known, schedule) }, intervalSeconds);
    },
    writeFinished: (seconds) => instruments.mongodb_write_duration_seconds.observe(seconds),
    slotDecided({ schedule, outcome }) {
      const known = catalog.schedule_slots_total.labels;
      instruments.schedule_slots_total.inc({
        schedule: labelValue(known.schedule, schedule),
        outcome: labelValue(known.outcome, outcome),
      });
    },
  };
}
