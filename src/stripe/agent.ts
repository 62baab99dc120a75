// Keeps connections to Stripe open, through a proxy where there is one, and tells each attempt which one is its own, so that it can be
// destroyed at any moment. The hooks are documented: https://nodejs.org/api/http.html#agentcreateconnectionoptions-callback
import http from 'node:http';
import https from 'node:https';
import type { Duplex } from 'node:stream';
import { currentAttempt } from './attempt.js';
import type { Proxy } from './proxy.js';

type Connected = (error: Error | null, stream: Duplex) => void;

class HttpAgent extends http.Agent {
  override createConnection(options: http.ClientRequestArgs, callback?: Connected) {
    return usedByAttempt(super.createConnection(options, callback));
  }
  override reuseSocket(socket: Duplex, request: http.ClientRequest): void {
    super.reuseSocket(socket, request);
    usedByAttempt(socket);
  }
}

class HttpsAgent extends https.Agent {
  readonly #proxy: Proxy | undefined;

  constructor(options: https.AgentOptions, proxy?: Proxy) {
    super(options);
    this.#proxy = proxy;
  }

  override createConnection(options: https.RequestOptions, callback?: Connected) {
    if (!this.#proxy || !callback) return usedByAttempt(super.createConnection(options, callback));
    this.#throughProxy(this.#proxy, options, callback);
    return undefined;
  }
  override reuseSocket(socket: Duplex, request: http.ClientRequest): void {
    super.reuseSocket(socket, request);
    usedByAttempt(socket);
  }

  #throughProxy(proxy: Proxy, options: https.RequestOptions, callback: Connected): void {
    const attempt = currentAttempt();
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

function usedByAttempt<T extends Duplex | null | undefined>(socket: T): T {
  if (socket) currentAttempt()?.use(socket);
  return socket;
}

/** @param proxy for HTTPS alone */
export const createAgent = (protocol: 'http' | 'https', proxy?: Proxy): http.Agent =>
  protocol === 'https' ? new HttpsAgent({ keepAlive: true }, proxy) : new HttpAgent({ keepAlive: true });
