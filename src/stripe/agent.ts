// Keeps connections to Stripe open, and tells each attempt which one is its own, so that it can be destroyed at any moment.
// The hooks are documented: https://nodejs.org/api/http.html#agentcreateconnectionoptions-callback
import http from 'node:http';
import https from 'node:https';
import type { Duplex } from 'node:stream';
import { currentAttempt } from './attempt.js';

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
  override createConnection(options: https.RequestOptions, callback?: Connected) {
    return usedByAttempt(super.createConnection(options, callback));
  }
  override reuseSocket(socket: Duplex, request: http.ClientRequest): void {
    super.reuseSocket(socket, request);
    usedByAttempt(socket);
  }
}

function usedByAttempt<T extends Duplex | null | undefined>(socket: T): T {
  if (socket) currentAttempt()?.use(socket);
  return socket;
}

export const createAgent = (protocol: 'http' | 'https'): http.Agent =>
  protocol === 'https' ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
