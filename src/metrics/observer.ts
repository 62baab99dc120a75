// Turns the events of all parts into metrics. Each part names its events; here each event is one line.
import type { MirrorObserver } from '../mirror/mirror.js';
import type { RefusedWrites } from '../mongo/refused-writes.js';
import type { RequestsObserver } from '../requests/observer.js';
import { mainResource } from '../resources/registry.js';
import type { ScheduleObserver } from '../schedule/schedule.js';
import type { StripeObserver } from '../stripe/observer.js';
import { outcomes } from '../sync/outcome.js';
import type { ScanObserver } from '../sync/scan/scan.js';
import { seriesOf } from './catalog.js';
import type { Instruments } from './instruments.js';

export type MetricsObserver = RequestsObserver &
  StripeObserver &
  ScheduleObserver &
  MirrorObserver &
  ScanObserver;

export function createObserver(to: Instruments, refused: RefusedWrites): MetricsObserver {
  return {
    requestClaimed: ({ lane, waitSeconds }) =>
      to.request_wait_seconds.observe(seriesOf('request_wait_seconds', { lane }), waitSeconds),

    requestEnded({
      command,
      status,
      code = 'internal',
      seconds,
      result,
      object = mainResource.object,
      count,
    }) {
      to.requests_total.inc(seriesOf('requests_total', { command, status }), count);
      if (status === 'failed') {
        to.request_failures_total.inc(seriesOf('request_failures_total', { code }), count);
      }
      if (seconds !== undefined) {
        to.request_duration_seconds.observe(seriesOf('request_duration_seconds', { command }), seconds);
      }
      if (!result) return;
      for (const outcome of outcomes) {
        to.objects_total.inc(seriesOf('objects_total', { object, outcome }), result[outcome]);
      }
    },

    scanProgressed(ratio) {
      if (ratio === undefined) to.scan_progress_ratio.remove();
      else to.scan_progress_ratio.set(ratio);
    },

    callFinished({ endpoint, outcome, seconds }) {
      to.stripe_calls_total.inc(seriesOf('stripe_calls_total', { endpoint, outcome }));
      to.stripe_call_duration_seconds.observe(
        seriesOf('stripe_call_duration_seconds', { endpoint }),
        seconds,
      );
    },
    rateLimited: (reason) =>
      to.stripe_rate_limited_total.inc(seriesOf('stripe_rate_limited_total', { reason })),
    slotWaited: (seconds) => to.rate_limiter_wait_seconds.observe(seconds),

    clockMoved: (seconds) =>
      to.mongodb_clock_moves_total.inc(
        seriesOf('mongodb_clock_moves_total', { direction: seconds < 0 ? 'back' : 'forward' }),
      ),
    rowsDisordered: ({ object, count }) =>
      to.scan_disordered_objects_total.inc(seriesOf('scan_disordered_objects_total', { object }), count),

    writeFinished: (seconds) => to.mongodb_write_duration_seconds.observe(seconds),
    writesRefused: (part) => refused.writesRefused(part),
    writesAccepted: (part) => refused.writesAccepted(part),
    timesAhead: (count) => to.stored_times_ahead_of_clock_total.inc(count),

    scheduleStarted: ({ schedule, intervalSeconds }) =>
      to.schedule_interval_seconds.set(seriesOf('schedule_interval_seconds', { schedule }), intervalSeconds),
    slotDecided: ({ schedule, outcome }) =>
      to.schedule_slots_total.inc(seriesOf('schedule_slots_total', { schedule, outcome })),
  };
}
