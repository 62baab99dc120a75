// One HTTP request to Stripe and its answer. The official SDK builds the request and the errors; this file
// sends the request over its own connections. The SDK gets no key and does no retries or telemetry.
import type { Socket } from 'node:net';
import Stripe from 'stripe';
import { buildConnector, Client } from 'undici';
import { Fault } from '../base/errors.js';
import { parseExactJson } from '../base/exact-json.js';
import { firstOf } from '../base/waiting.js';
import type { Config } from '../config/schema.js';
import type { SendOptions } from '../resources/resource.js';
import { type Proxy, type ProxyFailure, proxyFor } from './proxy.js';

const utf8 = new TextDecoder();

/**
 * Decodes all bytes at once, and drops the text before anything else happens. A text of 150 KB that lives on,
 * as one that was awaited or joined chunk by chunk, is freed by full garbage collections alone, of which it
 * causes half as many again.
 */
const jsonOf = (bytes: Uint8Array): unknown => parseExactJson(utf8.decode(bytes));

export interface ExchangeOptions {
  /** API key, used only for the Authorization header. */
  readonly key: string;
  /** Maximum time until the last byte of the answer. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface Exchange {
  /** Absent if no headers arrived. */
  readonly status: number | undefined;
  readonly headers: AnswerHeaders;
  /** Parsed JSON, untouched by the SDK (which would turn decimals inside lists into objects). */
  readonly body: unknown;
  readonly failure: ExchangeFailure | undefined;
  /** The error that the SDK threw; it has its own for every refusal. */
  readonly error: unknown;
}

export type AnswerHeaders = Record<string, string | string[]>;

/** What ended an exchange before its answer was complete. */
export type ExchangeFailure =
  | { readonly kind: 'aborted' }
  | { readonly kind: 'timeout'; readonly afterMs: number }
  /** Refused, reset, not resolved, not trusted; `code` is Node's, such as ECONNREFUSED. */
  | { readonly kind: 'connection'; readonly code: string | undefined }
  | ProxyFailure
  /** The connection ended in the middle of the answer. */
  | { readonly kind: 'broken_off' }
  | { readonly kind: 'no_json' };

/** Tells the HTTP client which attempt a request belongs to; not sent. */
const attemptHeader = 'Attempt';

export class StripeClient {
  readonly stripe: Stripe;
  /** Address of the proxy that calls go through, without credentials. */
  readonly proxy: string | undefined;
  readonly #connections: Connections;
  /** Attempts whose request has not been sent. */
  readonly #attempts = new Map<string, Attempt>();
  #attemptsMade = 0;

  /** @throws a fatal Fault `invalid_config` where the environment names a proxy that cannot be used */
  constructor({ apiBase, apiVersion }: Pick<Config['stripe'], 'apiBase' | 'apiVersion'>) {
    const url = new URL(apiBase);
    const proxy = proxyFor(url);
    this.proxy = proxy?.address;
    this.#connections = new Connections(url, proxy);
    this.stripe = new Stripe('', {
      // The key is added when the request is sent: printing the SDK's client cannot show it.
      authenticator: () => Promise.resolve(),
      apiVersion: apiVersion as Stripe.LatestApiVersion, // the setting decides; the SDK's types know only its newest version
      maxNetworkRetries: 0,
      telemetry: false,
      httpClient: {
        getClientName: () => 'undici',
        // Must reject instead of throwing: the SDK would leave a synchronous error unhandled.
        makeRequest: async (_host, _port, path, method, headers) => this.#send(method, path, headers),
      },
      appInfo: { name: 'stripe-mongo-sync' },
    });
  }

  /**
   * Runs `send`, in which the SDK makes one HTTP request with the given options. Ends when the request is
   * answered, aborted or out of time. Never rejects.
   */
  async exchange(
    send: (options: SendOptions) => Promise<unknown>,
    { key, timeoutMs, signal }: ExchangeOptions,
  ): Promise<Exchange> {
    const id = String((this.#attemptsMade += 1));
    const attempt = new Attempt(key);
    const abort = (): void => attempt.fail({ kind: 'aborted' });
    const timer = setTimeout(() => attempt.timeOut(timeoutMs), timeoutMs);
    signal.addEventListener('abort', abort, { once: true });
    this.#attempts.set(id, attempt);
    let error: unknown;
    try {
      if (signal.aborted) abort();
      await firstOf([attempt.failed, send({ headers: { [attemptHeader]: id } })]);
    } catch (thrown) {
      error = thrown;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      this.#attempts.delete(id);
    }
    const { status, headers, body, failure } = attempt;
    return { status, headers, body, failure, error };
  }

  /** Destroys all connections. */
  close(): void {
    this.#connections.close();
  }

  async #send(method: string, path: string, { [attemptHeader]: id, ...headers }: RequestHeaders) {
    const attempt = this.#attempts.get(String(id));
    // Removed: a second request of the attempt has no slot of the rate limiter.
    this.#attempts.delete(String(id));
    if (method !== 'GET') throw new Fault('internal', 'Only GET requests may be sent to Stripe');
    if (!attempt || attempt.failure) throw new Fault('internal', 'Each request to Stripe needs its own slot');
    const connection = this.#connections.take();
    try {
      return await attempt.send(connection, path, headers);
    } catch {
      // No error code, because the SDK repeats a request whose error says ECONNRESET or EPIPE.
      throw new Error('The request to Stripe failed');
    } finally {
      this.#connections.giveBack(connection);
    }
  }
}

type RequestHeaders = Record<string, string | number | string[]>;

class Attempt {
  status: number | undefined;
  headers: AnswerHeaders = {};
  body: unknown;
  failure: ExchangeFailure | undefined;
  /** Rejects when the attempt fails. */
  readonly failed: Promise<never>;
  #reject!: (reason: Error) => void;
  readonly #key: string;
  #connection: Connection | undefined;

  constructor(key: string) {
    this.#key = key;
    this.failed = new Promise<never>((_, reject) => (this.#reject = reject));
    this.failed.catch(() => undefined); // it may fail before anything waits for it
  }

  async send(
    connection: Connection,
    path: string,
    headers: RequestHeaders,
  ): Promise<Stripe.HttpClientResponse> {
    this.#connection = connection;
    try {
      const answer = await connection.get(path, { ...headers, Authorization: `Bearer ${this.#key}` });
      // Without Stripe-Notice: the SDK would print it as a warning of the process.
      const { 'stripe-notice': _, ...kept } = answer.headers as AnswerHeaders; // a header that is absent has no entry
      this.status = answer.statusCode;
      this.headers = kept;
      this.body = jsonOf(await answer.body.bytes());
      this.#connection = undefined;
      return new ResponseForSdk(answer.statusCode, kept, this.body);
    } catch (error) {
      this.fail(this.status === undefined ? connectionFailure(error) : bodyFailure(error));
      throw error;
    }
  }

  timeOut(afterMs: number): void {
    const proxy = this.#connection?.askedProxy;
    this.fail(proxy === undefined ? { kind: 'timeout', afterMs } : { kind: 'proxy', proxy, afterMs });
  }

  /** Ends the attempt at once and destroys its connection. Only the first failure counts. */
  fail(failure: ExchangeFailure): void {
    if (this.failure) return;
    this.failure = failure;
    this.#connection?.destroy();
    this.#reject(new Error(failure.kind));
  }
}

/** The SDK gets the body of an error, but only the status of a success. */
class ResponseForSdk extends Stripe.HttpClientResponse {
  readonly #body: object;

  constructor(status: number, headers: AnswerHeaders, body: unknown) {
    super(status, headers);
    this.#body = isSuccess(status) || typeof body !== 'object' || body === null ? {} : body;
  }
  override getRawResponse(): object {
    return {};
  }
  override toJSON(): Promise<object> {
    return Promise.resolve(this.#body);
  }
}

export const isSuccess = (status: number): boolean => status >= 200 && status < 300;

function connectionFailure(error: unknown): ExchangeFailure {
  if (error instanceof TunnelFailed) return error.failure;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  // undici's code where the connection is closed before the answer.
  if (code === 'UND_ERR_SOCKET') return { kind: 'connection', code: 'ECONNRESET' };
  const isCode = typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(code);
  return { kind: 'connection', code: isCode ? code : undefined };
}

const bodyFailure = (error: unknown): ExchangeFailure =>
  error instanceof SyntaxError ? { kind: 'no_json' } : { kind: 'broken_off' };

/** An idle connection is closed after this long, or sooner where Stripe's `Keep-Alive` header says so. */
const idleMs = 60_000;

/** Connections to Stripe, kept open between calls. */
class Connections {
  readonly #open: () => Connection;
  readonly #all = new Set<Connection>();
  readonly #idle: Connection[] = [];

  constructor(stripe: URL, proxy: Proxy | undefined) {
    const connector = buildConnector({ timeout: 0 });
    this.#open = () => new Connection(stripe, proxy, connector);
  }

  take(): Connection {
    const connection = this.#idle.pop() ?? this.#open();
    this.#all.add(connection);
    return connection;
  }

  giveBack(connection: Connection): void {
    if (connection.isDestroyed) this.#all.delete(connection);
    else this.#idle.push(connection);
  }

  close(): void {
    for (const connection of this.#all) connection.destroy();
  }
}

/**
 * Carries one request at a time. It connects at the first one, and reconnects if the connection was closed
 * since.
 */
class Connection {
  readonly #client: Client;
  /** The socket or tunnel that was opened last; undici does not destroy one that still connects. */
  #opened: { destroy(): unknown } | undefined;
  /** Address of the proxy while it is asked for a tunnel. */
  askedProxy: string | undefined;

  constructor(
    { origin, hostname, port }: URL,
    proxy: Proxy | undefined,
    connector: buildConnector.connector,
  ) {
    // It returns the socket, which undici's type leaves out.
    const connect = connector as (...args: Parameters<buildConnector.connector>) => Socket;
    this.#client = new Client(origin, {
      // The attempt has a deadline of its own.
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: idleMs,
      connect: (options, callback) => {
        if (!proxy) {
          this.#opened = connect(options, callback);
          return;
        }
        this.askedProxy = proxy.address;
        this.#opened = proxy.open(`${hostname}:${port || 443}`, (tunnel) => {
          this.askedProxy = undefined;
          if (tunnel.kind === 'failed') callback(new TunnelFailed(tunnel.failure), null);
          // TLS with Stripe itself, over the tunnel.
          else this.#opened = connect({ ...options, httpSocket: tunnel.socket }, callback);
        });
      },
    });
  }

  get isDestroyed(): boolean {
    return this.#client.destroyed;
  }

  get(path: string, headers: RequestHeaders) {
    // Only the SDK's headers of a request with a body are not strings.
    return this.#client.request({ method: 'GET', path, headers: headers as Record<string, string> });
  }

  destroy(): void {
    void this.#client.destroy();
    this.#opened?.destroy();
  }
}

class TunnelFailed extends Error {
  constructor(readonly failure: ProxyFailure) {
    super('The proxy opened no tunnel');
  }
}
