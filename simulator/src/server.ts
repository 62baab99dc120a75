// One HTTP call from arrival to answer: faults first, then key, limits, latency and holds, and the data last.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type Caller, keyOf, type KeyRing } from './auth.js';
import { createIdCodec } from './customer-ids.js';
import { invalidVersion, rateLimited, type Refusal } from './errors.js';
import { faultyAnswer, fromAnswer, type Literal, toAnswer } from './fault-answers.js';
import type { FaultBoard } from './faults.js';
import type { CallHolds, HoldBoard } from './holds.js';
import { drawDelays } from './latency.js';
import type { Mode } from './mode.js';
import type { Observations } from './observations.js';
import type { Random } from './random.js';
import { RateLimiter } from './rate-limits.js';
import { type ReplyContext, toReply, transmit } from './reply.js';
import { answerRoute, type Outcome, type Route, routeOf } from './routes.js';
import type { FaultOrder, Latency, Limits, RecordedCall, SimulatorClock, SimulatorOptions } from './types.js';

const VERSION_PATTERN = /^\d{4}-\d{2}-\d{2}(\.[a-z]+)?(;.*)?$/;

export interface Surroundings {
  clock: SimulatorClock;
  random: Random;
  keys: KeyRing;
  faults: FaultBoard;
  holds: HoldBoard;
  observations: Observations;
  options: Required<Pick<SimulatorOptions, 'apiVersion' | 'limitOutOfRange' | 'deletedCursor'>>;
  /** Answers what is below `/_simulator/`; undefined when there is no control API. */
  control: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
}

interface Call {
  route: Route;
  record: RecordedCall;
  response: ServerResponse;
  caller: Caller | undefined;
  /** An answer that was settled on arrival, without latency: wrong key, over a limit, unknown version. */
  early: Refusal | undefined;
  fault: FaultOrder | undefined;
  holds: CallHolds;
  version: string;
  leave: () => void;
}

export class StripeServer {
  readonly http: Server;
  /** What went wrong in the simulator itself. */
  readonly ownFaults: unknown[] = [];
  latency: Latency | undefined;
  limits: Limits | undefined;
  private limiters = new WeakMap<Mode, RateLimiter>();
  private readonly timers = new Set<NodeJS.Timeout>();
  private readonly requestIds: ReturnType<typeof createIdCodec>;
  private callCount = 0;

  constructor(private readonly around: Surroundings) {
    this.requestIds = createIdCodec('req_', around.random.below(0x7fffffff));
    this.http = createServer({ keepAliveTimeout: 65_000, requestTimeout: 0 }, (request, response) => {
      this.serve(request, response);
    });
    this.http.on('clientError', (_error, socket) => socket.destroy());
  }

  resetLimiters(): void {
    this.limiters = new WeakMap();
  }

  async close(): Promise<void> {
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
    const closed = new Promise<void>((resolve) => this.http.close(() => resolve()));
    this.http.closeAllConnections();
    await closed;
  }

  private serve(request: IncomingMessage, response: ServerResponse): void {
    if (this.around.control !== undefined && request.url?.startsWith('/_simulator/') === true) {
      this.around.control(request, response);
      return;
    }
    request.resume();
    try {
      this.begin(this.arrive(request, response));
    } catch (error) {
      // A predicate of a test may throw; that must not end the process, nor be lost.
      this.ownFaults.push(error);
      response.destroy();
    }
  }

  private begin(call: Call): void {
    const delays = drawDelays(call.early === undefined ? this.latency : undefined, this.around.random);
    const isImmediate = delays.beforeComputeMs + delays.afterComputeMs === 0 && call.holds.isEmpty;
    if (isImmediate && call.fault === undefined) {
      this.send(call, this.compute(call));
      return;
    }
    this.run(call, delays.beforeComputeMs, delays.afterComputeMs).catch((error: unknown) => {
      this.ownFaults.push(error);
      call.leave();
      call.response.destroy();
    });
  }

  private arrive(request: IncomingMessage, response: ServerResponse): Call {
    const method = request.method ?? 'GET';
    const url = request.url ?? '/';
    const route = routeOf(method, url);
    const info = { method, url, endpoint: route.endpoint };
    const { authorization, 'stripe-version': requested } = request.headers;
    const requestId = this.requestIds.encode(this.callCount);
    this.callCount += 1;
    const record = this.around.observations.arrive(info, keyOf(authorization)?.slice(-4), requestId);
    const fault = this.around.faults.take(info);
    record.fault = fault?.kind;
    const identified = this.around.keys.identify(authorization);
    const caller = 'error' in identified ? undefined : identified;
    const limiter = caller === undefined ? undefined : this.limiterOf(caller.mode);
    const overLimit = caller === undefined ? undefined : this.countAgainstLimits(caller.mode, limiter, route);
    // A test that orders a fault wants that call to be hit, limits or not.
    const early =
      'error' in identified
        ? identified
        : ((fault === undefined ? overLimit : undefined) ?? refuseVersion(requested));
    limiter?.enter(route.endpoint);
    let isInFlight = true;
    const leave = (): void => {
      if (!isInFlight) return;
      isInFlight = false;
      limiter?.leave(route.endpoint);
      this.around.observations.left();
    };
    const version = typeof requested === 'string' ? requested : this.around.options.apiVersion;
    const holds = this.around.holds.take(info);
    return { route, record, response, caller, early, fault, holds, version, leave };
  }

  private countAgainstLimits(
    mode: Mode,
    limiter: RateLimiter | undefined,
    { endpoint }: Route,
  ): Refusal | undefined {
    if (this.limits === undefined) return undefined;
    const reason = limiter?.refuse(endpoint, this.limits, performance.now());
    return reason === undefined
      ? undefined
      : rateLimited(reason, mode.livemode, this.limits.retryAfterSeconds);
  }

  private async run(call: Call, beforeMs: number, afterMs: number): Promise<void> {
    await this.pause(beforeMs);
    await call.holds.at('before-compute');
    if (call.fault?.kind === 'stall') {
      call.response.once('close', call.leave);
      if (call.response.destroyed) call.leave();
      return;
    }
    const outcome = await this.outcome(call);
    await this.pause(afterMs);
    await call.holds.at('after-compute');
    if (call.fault?.kind === 'reset') {
      call.leave();
      call.response.socket?.destroy();
      return;
    }
    this.send(call, outcome);
  }

  private outcome(call: Call): Outcome | Literal | Promise<Literal> {
    const { fault } = call;
    const compute = (): Outcome => this.compute(call);
    if (fault === undefined) return compute();
    if (fault.kind !== 'custom') return faultyAnswer(fault, this.livemodeOf(call), compute);
    const info = { method: call.record.method, url: call.record.url, endpoint: call.record.endpoint };
    return Promise.resolve(fault.answer(info, () => toAnswer(compute()))).then(fromAnswer);
  }

  private compute(call: Call): Outcome {
    if (call.early !== undefined) return call.early;
    if (call.caller === undefined) throw new Error('A call without a caller must have an early answer');
    const { options, clock } = this.around;
    return answerRoute(call.record.method, call.route, call.caller, {
      clampsLimit: options.limitOutOfRange === 'clamp',
      deletedCursor: options.deletedCursor,
      nowSeconds: clock.seconds,
      repeatsPage: call.fault?.kind === 'duplicatePage',
      ignores: call.fault?.kind === 'ignoreParameters' ? call.fault.names : [],
    });
  }

  private send(call: Call, outcome: Outcome | Literal): void {
    if (call.response.destroyed) {
      call.leave();
      return;
    }
    const context: ReplyContext = {
      requestId: call.record.requestId,
      version: call.version,
      livemode: this.livemodeOf(call),
      nowMs: this.around.clock.now(),
    };
    const reply = toReply(outcome, context);
    this.countRefusal(outcome);
    this.around.observations.answered(call.record, reply.status);
    transmit(call.response, reply, context, call.fault, call.leave);
  }

  private countRefusal(outcome: Outcome | Literal): void {
    if (!('error' in outcome) || outcome.status !== 429) return;
    if (outcome.error.code === 'lock_timeout') this.around.observations.refused('lock_timeout');
    const reason = outcome.headers?.['Stripe-Rate-Limited-Reason'];
    if (isReason(reason)) this.around.observations.refused(reason);
  }

  private livemodeOf(call: Call): boolean {
    return call.caller?.mode.livemode ?? false;
  }

  private limiterOf(mode: Mode): RateLimiter {
    const existing = this.limiters.get(mode);
    if (existing !== undefined) return existing;
    const limiter = new RateLimiter();
    this.limiters.set(mode, limiter);
    return limiter;
  }

  /** Never settles when the simulator closes meanwhile: nobody is left to answer. */
  private pause(ms: number): Promise<void> | undefined {
    if (ms <= 0) return undefined;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.timers.delete(timer);
        resolve();
      }, ms);
      this.timers.add(timer);
    });
  }
}

function refuseVersion(requested: string | string[] | undefined): Refusal | undefined {
  const isKnown = typeof requested !== 'string' || VERSION_PATTERN.test(requested);
  return isKnown ? undefined : invalidVersion(requested);
}

const REASONS = [
  'global-rate',
  'endpoint-rate',
  'global-concurrency',
  'endpoint-concurrency',
  'resource-specific',
] as const;

function isReason(value: string | undefined): value is (typeof REASONS)[number] {
  return REASONS.some((reason) => reason === value);
}
