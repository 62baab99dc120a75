// A real egress proxy (CONNECT, RFC 9110, 9.3.6) that resolves names of its own, and TLS in front of a server that speaks none.
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import type { Certificate } from './certificates.js';
import { atEnd } from './cleanup.js';

/** What it does when it is asked for a tunnel. */
export type ProxyConduct =
  | { kind: 'tunnel' }
  | { kind: 'silence' }
  | { kind: 'hangUp' }
  | { kind: 'answer'; status: number; headers?: Record<string, string>; body?: string };

export interface TestProxy {
  readonly host: string;
  readonly port: number;
  /** `http://127.0.0.1:port`, or `https:`. */
  readonly url: string;
  /** Each request for a tunnel, in order. */
  readonly asked: { authority: string; authorization: string | undefined }[];
  /** Everything else that it was asked: nothing, if all goes well. */
  readonly otherRequests: string[];
  /** Connections of clients that are open now. */
  readonly connections: () => number;
  readonly mostConnections: () => number;
  /** How it behaves from now on, and that alone: tunnels that are open are closed. It opens tunnels at first. */
  behave: (conduct: ProxyConduct) => void;
}

export interface ProxyOptions {
  /** Ports of 127.0.0.1 by the authorities that clients ask for; whatever else is asked gets 502. */
  routes?: Record<string, number>;
  /** Makes it a proxy that is itself spoken to over TLS. */
  certificate?: Certificate;
  /** `user:password` that it demands; 407 without. */
  credentials?: string;
}

/** Starts a proxy on 127.0.0.1 that ends with the test. */
export async function startProxy(options: ProxyOptions = {}): Promise<TestProxy> {
  const { routes = {}, certificate, credentials } = options;
  const asked: TestProxy['asked'] = [];
  const otherRequests: string[] = [];
  const connections = new Set<Duplex>();
  let conduct: ProxyConduct = { kind: 'tunnel' };
  let most = 0;

  const server = certificate ? https.createServer(certificate) : http.createServer();
  server.on('request', (request, response) => {
    otherRequests.push(`${request.method ?? ''} ${request.url ?? ''}`);
    response.writeHead(400).end();
  });
  server.on('connect', (request: http.IncomingMessage, client: Duplex) => {
    client.on('error', () => client.destroy());
    const authority = request.url ?? '';
    const authorization = request.headers['proxy-authorization'];
    asked.push({ authority, authorization });
    const demanded = credentials && `Basic ${Buffer.from(credentials).toString('base64')}`;
    const port = routes[authority];
    // Read on, or the end of a client that gives up is never seen.
    if (conduct.kind === 'silence') client.once('end', () => client.destroy()).resume();
    else if (conduct.kind === 'hangUp') client.destroy();
    else if (conduct.kind === 'answer') refuse(client, conduct);
    else if (authorization !== demanded)
      refuse(client, { status: 407, headers: { 'Proxy-Authenticate': 'Basic' } });
    else if (port === undefined) refuse(client, { status: 502 });
    else {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      join(client, port);
    }
  });
  // Of TCP, also under TLS.
  server.on('connection', (socket: Duplex) => {
    connections.add(socket);
    most = Math.max(most, connections.size);
    socket.once('close', () => connections.delete(socket));
  });
  const port = await listen(server, connections);
  return {
    host: '127.0.0.1',
    port,
    url: `${certificate ? 'https' : 'http'}://127.0.0.1:${port}`,
    asked,
    otherRequests,
    connections: () => connections.size,
    mostConnections: () => most,
    behave: (next) => {
      conduct = next;
      // A tunnel that a client has kept would go on to serve it, whatever the proxy answers to new ones.
      for (const connection of connections) connection.destroy();
    },
  };
}

/** Speaks TLS with this certificate and passes on what was said to a port of 127.0.0.1. Returns its own port. */
export async function startTls(certificate: Certificate, target: number): Promise<number> {
  const connections = new Set<Duplex>();
  const server = tls.createServer(certificate, (client) => join(client, target));
  server.on('connection', (socket: Duplex) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
  });
  return listen(server, connections);
}

function refuse(
  client: Duplex,
  { status, headers = {}, body = '' }: Omit<ProxyConduct & { kind: 'answer' }, 'kind'>,
): void {
  const lines = Object.entries({ ...headers, 'Content-Length': String(Buffer.byteLength(body)) });
  const head = [`HTTP/1.1 ${status} No`, ...lines.map(([name, value]) => `${name}: ${value}`)].join('\r\n');
  client.end(`${head}\r\n\r\n${body}`);
}

function join(client: Duplex, port: number): void {
  const server = net.connect(port, '127.0.0.1');
  for (const [one, other] of [
    [client, server],
    [server, client],
  ] as const) {
    one.on('error', () => other.destroy());
    one.once('close', () => other.destroy());
    one.pipe(other);
  }
}

function listen(server: net.Server, connections: ReadonlySet<Duplex>): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
    atEnd(async () => {
      for (const connection of connections) connection.destroy();
      await new Promise((closed) => server.close(closed));
    });
  });
}
