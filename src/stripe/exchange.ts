// The official SDK, set up so that it does nothing of its own: no retries, no telemetry, no key inside it.
import http, { type Agent, type IncomingMessage } from 'node:http';
import https from 'node:https';
import type { Duplex } from 'node:stream';
import Stripe from 'stripe';
import { Fault } from '../base/errors.js';
import type { Config } from '../config/schema.js';
import type { SendOptions } from '../resources/resource.js';
import type { ExchangeFailure } from './classify.js';
import { type Proxy, proxyFor } from './proxy.js';

export interface StripeClient {
  readonly stripe: Stripe;
  /** Address of the proxy that calls go through, without credentials. */
  readonly proxy: string | undefined;
  /** Destroys all connections. */
  close(): void;
}

type ClientSettings = Pick<Config['stripe'], 'apiBase' | 'apiVersion' | 'attemptTimeoutMs'>;

/** @throws a fatal Fault `invalid_config` where the environment names a proxy that is none */
export function createClient({ apiBase, apiVersion, attemptTimeoutMs }: ClientSettings): StripeClient {
  const url = new URL(apiBase);
  const protocol = url.protocol === 'http:' ? 'http' : 'https';
  const proxy = proxyFor(url);
  const agent = createAgent(protocol, proxy);
  const stripe = new Stripe('', {
    // Each attempt brings its own; without one no request is made.
    authenticator: () => Promise.resolve(),
    apiVersion: apiVersion as Stripe.LatestApiVersion, // the setting decides; the SDK's types know its newest version alone
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? (protocol === 'http' ? 80 : 443) : url.port,
    protocol,
    maxNetworkRetries: 0,
    telemetry: false,
    // Of idle time only; the attempt ends itself before.
    timeout: attemptTimeoutMs + 1_000,
    httpClient: createHttpClient(agent),
    appInfo: { name: 'stripe-mongo-sync' },
  });
  return { stripe, proxy: proxy?.address, close: () => agent.destroy() };
}

// One HTTP exchange with Stripe: its total time, its abort, its socket and what came back. The one thing of ours that the SDK hands through
// to its HTTP client, and Node to the agent, are the headers that the authenticator was given: by these they find the attempt. (By the
// asynchronous context they would, too, but on Node 20 that makes every promise of the process dearer.)
/** A socket, a response, or a request for a tunnel. */
interface Connection {
  destroy(): unknown;
}

const byHeaders = new WeakMap<object, Attempt>();

/** The attempt that a request with these headers belongs to; the object itself, not one that is equal. */
const attemptOf = (headers: unknown): Attempt | undefined =>
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

// Keeps connections to Stripe open, through a proxy where there is one, and tells each attempt which one is its own, so that it can be
// destroyed at any moment. The hooks are documented: https://nodejs.org/api/http.html#agentcreateconnectionoptions-callback
type Connected = (error: Error | null, stream: Duplex) => void;

declare module 'node:http' {
  interface Agent {
    /** Called with every request; what agents outside of Node are built on, such as https://www.npmjs.com/package/agent-base. */
    addRequest(request: http.ClientRequest, options: http.RequestOptions): void;
  }
}

/** A request that gets a connection of an earlier one is given to the agent without its options. */
const byRequest = new WeakMap<http.ClientRequest, Attempt>();

function remember(request: http.ClientRequest, { headers }: http.RequestOptions): void {
  const attempt = attemptOf(headers);
  if (attempt) byRequest.set(request, attempt);
}

class HttpAgent extends http.Agent {
  override addRequest(request: http.ClientRequest, options: http.RequestOptions): void {
    remember(request, options);
    super.addRequest(request, options);
  }
  override createConnection(options: http.ClientRequestArgs, callback?: Connected) {
    return usedBy(attemptOf(options.headers), super.createConnection(options, callback));
  }
  override reuseSocket(socket: Duplex, request: http.ClientRequest): void {
    super.reuseSocket(socket, request);
    usedBy(byRequest.get(request), socket);
  }
}

class HttpsAgent extends https.Agent {
  readonly #proxy: Proxy | undefined;

  constructor(options: https.AgentOptions, proxy?: Proxy) {
    super(options);
    this.#proxy = proxy;
  }

  override addRequest(request: http.ClientRequest, options: https.RequestOptions): void {
    remember(request, options);
    super.addRequest(request, options);
  }
  override createConnection(options: https.RequestOptions, callback?: Connected) {
    if (!this.#proxy || !callback)
      return usedBy(attemptOf(options.headers), super.createConnection(options, callback));
    this.#throughProxy(this.#proxy, options, callback);
    return undefined;
  }
  override reuseSocket(socket: Duplex, request: http.ClientRequest): void {
    super.reuseSocket(socket, request);
    usedBy(byRequest.get(request), socket);
  }

  #throughProxy(proxy: Proxy, options: https.RequestOptions, callback: Connected): void {
    const attempt = attemptOf(options.headers);
    const refuse = callback as (error: Error) => void; // Node asks for no stream beside an error
    const { host, port } = options;
    const authority = `${host?.includes(':') ? `[${host}]` : host}:${port ?? 443}`;
    const opening = proxy.open(authority, (tunnel) => {
      if (tunnel.kind === 'failed') {
        attempt?.fail(tunnel.failure);
        refuse(new Error('The proxy opened no tunnel'));
        return;
      }
      // TLS as ever, to Stripe itself, over the tunnel instead of a connection of its own.
      const overTunnel: https.RequestOptions & { socket: Duplex } = { ...options, socket: tunnel.socket };
      const socket = super.createConnection(overTunnel);
      if (!socket) throw new Error('TLS gave no socket');
      attempt?.use(socket);
      callback(null, socket);
    });
    attempt?.use(opening, proxy.address);
  }
}

function usedBy<T extends Duplex | null | undefined>(attempt: Attempt | undefined, socket: T): T {
  if (socket) attempt?.use(socket);
  return socket;
}

/** @param proxy for HTTPS alone */
const createAgent = (protocol: 'http' | 'https', proxy?: Proxy): http.Agent =>
  protocol === 'https' ? new HttpsAgent({ keepAlive: true }, proxy) : new HttpAgent({ keepAlive: true });

// The SDK's own Node client, wrapped: a request needs an attempt that has not sent one yet, and nothing but GET gets through.
// Errors lose their codes here, for the SDK on its own repeats a call whose error says ECONNRESET or EPIPE.
type Client = Stripe.HttpClient;
type Response = Stripe.HttpClientResponse;

function createHttpClient(agent: Agent): Client {
  const node = Stripe.createNodeHttpClient(agent);
  return {
    getClientName: () => node.getClientName(),
    // Rejects, never throws: what it throws synchronously would be an unhandled rejection inside the SDK.
    makeRequest: async (host, port, path, method, headers, body, protocol, timeout) => {
      const attempt = attemptOf(headers);
      if (method !== 'GET')
        throw new Fault('internal', 'Only reads are made at Stripe', { kind: 'terminal' });
      if (!attempt?.begin()) {
        throw new Fault('internal', 'A call to Stripe needs a slot of its own', { kind: 'terminal' });
      }
      try {
        const response = await node.makeRequest(host, port, path, method, headers, body, protocol, timeout);
        return receivedBy(attempt, response);
      } catch (error) {
        attempt.fail({ kind: 'connection', code: codeOf(error) });
        throw withoutCode();
      }
    },
  };
}

/** The response, read by the attempt. The SDK is given an error's body, and of a success only that it was one. */
function receivedBy(attempt: Attempt, response: Response): Response {
  const status = response.getStatusCode();
  // The SDK would print a Stripe-Notice as a warning of the process.
  const { 'stripe-notice': _, ...headers } = response.getHeaders();
  attempt.answered(status, headers);
  const message = response.getRawResponse() as IncomingMessage; // the Node client's is one
  attempt.use(message);
  return {
    getStatusCode: () => status,
    getHeaders: () => headers,
    getRawResponse: () => message,
    toStream: (onComplete) => response.toStream(onComplete),
    toJSON: async () => {
      try {
        const body = await readJson(message);
        attempt.done(body);
        return isSuccess(status) || typeof body !== 'object' || body === null ? {} : body;
      } catch (error) {
        attempt.fail(error instanceof SyntaxError ? { kind: 'no_json' } : { kind: 'broken_off' });
        throw withoutCode();
      }
    },
  };
}

export const isSuccess = (status: number): boolean => status >= 200 && status < 300;

const withoutCode = (): Error => new Error('The call to Stripe failed');

function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(code) ? code : undefined;
}

// Reads the body of an answer as bytes. The SDK puts its text together chunk by chunk, and of a page with a character beyond Latin-1 that makes
// a string of 150 KB which only a full garbage collection frees (measured at 10 pages a second: a scan leaves 2 to 3 MB a second to those,
// and 0.6 this way).
/** @throws SyntaxError where it is no JSON; another error where it breaks off */
async function readJson(message: IncomingMessage): Promise<unknown> {
  const body = await readWhole(message);
  return JSON.parse(body.toString('utf8'));
}

function readWhole(message: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    message.on('data', (chunk: Buffer) => chunks.push(chunk));
    message.once('error', reject);
    // Not everything that breaks off emits an error.
    message.once('close', () => {
      if (!message.complete) reject(new Error('The answer broke off'));
    });
    message.once('end', () => resolve(Buffer.concat(chunks)));
  });
}
