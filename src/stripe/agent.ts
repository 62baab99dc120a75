// Keeps connections to Stripe open, through a proxy where there is one, and tells each attempt which one is its own, so that it can be
// destroyed at any moment. The hooks are documented: https://nodejs.org/api/http.html#agentcreateconnectionoptions-callback
import http from 'node:http';
import https from 'node:https';
import type { Duplex } from 'node:stream';
import { type Attempt, attemptOf } from './attempt.js';
import type { Proxy } from './proxy.js';

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
export const createAgent = (protocol: 'http' | 'https', proxy?: Proxy): http.Agent =>
  protocol === 'https' ? new HttpsAgent({ keepAlive: true }, proxy) : new HttpAgent({ keepAlive: true });
