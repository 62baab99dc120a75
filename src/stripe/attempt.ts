// One HTTP exchange with Stripe: its total time, its abort, its socket and what came back. The SDK hands nothing of ours through
// to its HTTP client, so client and agent find the attempt by the asynchronous context.
import { AsyncLocalStorage } from 'node:async_hooks';
import type { ExchangeFailure } from './failure.js';

/** A socket, a response, or a request for a tunnel. */
interface Connection {
  destroy(): unknown;
}

const context = new AsyncLocalStorage<Attempt>();

/** The attempt that the running code belongs to. */
export const currentAttempt = (): Attempt | undefined => context.getStore();

export interface AttemptOptions {
  /** API key, for the Authorization header alone. */
  readonly key: string;
  /** Longest time from here to the last byte of the answer. The SDK's own timeout is of idle time only. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export type AnswerHeaders = Readonly<Record<string, string | string[] | number | undefined>>;

export interface Exchange {
  /** Absent where no headers came. */
  readonly status: number | undefined;
  readonly headers: AnswerHeaders;
  /** Parsed JSON, untouched by the SDK (which would turn decimals inside lists into objects). */
  readonly body: unknown;
  /** What ended it before there was an answer. */
  readonly failure: ExchangeFailure | undefined;
  /** What the SDK made of it: an error of its own for every refusal. */
  readonly error: unknown;
}

export class Attempt {
  #status: number | undefined;
  #headers: AnswerHeaders = {};
  #body: unknown;
  #failure: ExchangeFailure | undefined;
  #isBegun = false;
  #isDone = false;
  #connection: Connection | undefined;
  #proxyAsked: string | undefined;
  #rejectFailed!: (reason: Error) => void;
  readonly #failed = new Promise<never>((_, reject) => {
    this.#rejectFailed = reject;
  });

  private constructor(readonly key: string) {}

  /** Runs `send`, which has the SDK make one HTTP call, until it is answered, aborted or out of time. Never rejects. */
  static async run(send: () => Promise<unknown>, options: AttemptOptions): Promise<Exchange> {
    const { key, timeoutMs, signal } = options;
    const attempt = new Attempt(key);
    const abort = (): void => attempt.fail({ kind: 'aborted' });
    const timer = setTimeout(() => attempt.#timeOut(timeoutMs), timeoutMs);
    signal.addEventListener('abort', abort, { once: true });
    let error: unknown;
    try {
      if (signal.aborted) abort();
      await Promise.race([attempt.#failed, context.run(attempt, send)]);
    } catch (thrown) {
      error = thrown;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    }
    return attempt.#end(error);
  }

  /** True once: whoever sends a second request has none of the rate limiter's slots for it. */
  begin(): boolean {
    if (this.#isBegun || this.#failure) return false;
    this.#isBegun = true;
    return true;
  }

  /**
   * The connection that it uses, to be destroyed where it fails: a socket, later the response.
   * @param proxyAsked address of the proxy that this connection asks for a tunnel
   */
  use(connection: Connection, proxyAsked?: string): void {
    this.#connection = connection;
    this.#proxyAsked = proxyAsked;
    if (this.#failure) connection.destroy();
  }

  answered(status: number, headers: AnswerHeaders): void {
    this.#status = status;
    this.#headers = headers;
  }

  /** The whole answer is there; the connection may serve others. */
  done(body: unknown): void {
    this.#body = body;
    this.#isDone = true;
    this.#connection = undefined;
  }

  #timeOut(afterMs: number): void {
    const proxy = this.#proxyAsked;
    this.fail(proxy === undefined ? { kind: 'timeout', afterMs } : { kind: 'proxy', proxy, afterMs });
  }

  #end(error: unknown): Exchange {
    const exchange = {
      status: this.#status,
      headers: this.#headers,
      body: this.#body,
      failure: this.#failure,
      error,
    };
    // A connection opened by this attempt remembers its context as long as it lives: it must not keep the page alive.
    this.#body = undefined;
    return exchange;
  }

  /** Ends it at once and destroys its connection. Only the first failure counts. */
  fail(failure: ExchangeFailure): void {
    if (this.#isDone || this.#failure) return;
    this.#failure = failure;
    this.#connection?.destroy();
    this.#rejectFailed(new Error(failure.kind));
  }
}
