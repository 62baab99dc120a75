// One HTTP exchange with Stripe: its total time, its abort, its socket and what came back. The one thing of ours that the SDK hands through
// to its HTTP client, and Node to the agent, are the headers that the authenticator was given: by these they find the attempt. (By the
// asynchronous context they would, too, but on Node 20 that makes every promise of the process dearer.)
import type { SendOptions } from '../resources/resource.js';
import type { ExchangeFailure } from './failure.js';

/** A socket, a response, or a request for a tunnel. */
interface Connection {
  destroy(): unknown;
}

const byHeaders = new WeakMap<object, Attempt>();

/** The attempt that a request with these headers belongs to; the object itself, not one that is equal. */
export const attemptOf = (headers: unknown): Attempt | undefined =>
  typeof headers === 'object' && headers !== null ? byHeaders.get(headers) : undefined;

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

  /**
   * Runs `send`, which has the SDK make one HTTP call with the options that it is given, until it is answered, aborted or out of time.
   * Never rejects.
   */
  static async run(
    send: (options: SendOptions) => Promise<unknown>,
    options: AttemptOptions,
  ): Promise<Exchange> {
    const { timeoutMs, signal } = options;
    const attempt = new Attempt();
    const abort = (): void => attempt.fail({ kind: 'aborted' });
    const timer = setTimeout(() => attempt.#timeOut(timeoutMs), timeoutMs);
    signal.addEventListener('abort', abort, { once: true });
    let error: unknown;
    try {
      if (signal.aborted) abort();
      await Promise.race([attempt.#failed, send(attempt.#requestOptions(options))]);
    } catch (thrown) {
      error = thrown;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    }
    return attempt.#end(error);
  }

  /** The key goes to this attempt's request alone: nothing that prints the client can print it, and it can change between two attempts. */
  #requestOptions({ key }: AttemptOptions): SendOptions {
    return {
      // It must not reject: the SDK leaves that rejection unhandled.
      authenticator: async ({ headers }) => {
        byHeaders.set(headers, this);
        headers['Authorization'] = `Bearer ${key}`;
      },
    };
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
    // A connection that was opened for this attempt remembers its headers as long as it lives: it must not keep the page alive.
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
