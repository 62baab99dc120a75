// Health for the probes of Kubernetes. Liveness depends on the poll loop. Readiness depends on start-up,
// MongoDB and the stop.
import mongoose from 'mongoose';
import { ping } from '../mongo/connection.js';
import type { RequestWorker } from '../requests/worker/worker.js';

const pingTimeoutMs = 1_500;
/** The poll loop counts as stalled after this many missed turns. */
const missedPolls = 6;
/** Minimum time before a stall is reported: the driver needs it to leave a frozen primary. */
const minStallMs = 30_000;

export interface HealthOptions {
  readonly connection: mongoose.Connection;
  readonly pollIntervalMs: number;
  /** Aborted when the stop begins. */
  readonly signal: AbortSignal;
}

/** A check resolves to undefined when all is well, otherwise to a sentence that says what is wrong. */
export class Health {
  readonly #options: HealthOptions;
  #waitsFor = 'MongoDB';
  #worker: Pick<RequestWorker, 'lastPollAt'> | undefined;

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  /** Records what start-up now waits for. */
  readonly waitFor = (waitsFor: 'MongoDB' | 'Stripe'): void => {
    this.#waitsFor = waitsFor;
  };

  /** Start-up is over; the worker's poll loop decides about liveness. */
  started(worker: Pick<RequestWorker, 'lastPollAt'>): void {
    this.#worker = worker;
  }

  /** Fails only if a restart helps. */
  readonly liveness = { poll: (): string | undefined => this.#stalledPoll() };

  readonly readiness = {
    startup: (): string | undefined => (this.#worker ? undefined : `Waiting for ${this.#waitsFor}`),
    shutdown: (): string | undefined => (this.#options.signal.aborted ? 'Stopping' : undefined),
    mongodb: (): Promise<string | undefined> => this.#unreachable(),
  };

  #stalledPoll(): string | undefined {
    if (this.#worker?.lastPollAt === undefined) return undefined;
    const sinceMs = performance.now() - this.#worker.lastPollAt;
    if (sinceMs <= Math.max(minStallMs, missedPolls * this.#options.pollIntervalMs)) return undefined;
    return `The poll loop has stood still for ${Math.round(sinceMs / 1_000)} s`;
  }

  async #unreachable(): Promise<string | undefined> {
    const { connection } = this.#options;
    if (connection.readyState !== mongoose.ConnectionStates.connected) return 'Not connected';
    return (await ping(connection, pingTimeoutMs)) ? undefined : 'MongoDB does not answer';
  }
}
