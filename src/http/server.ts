// /metrics, /healthz and /readyz over plain HTTP.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Fault, isFault, reportError } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { withDeadline } from '../base/waiting.js';

export interface HttpServerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly logger: Logger;
  /** What Prometheus scrapes. */
  readonly metrics: { readonly contentType: string; render(): Promise<string> };
  /** Fails only if a restart of the process helps. */
  readonly liveness: Readonly<Record<string, Check>>;
  /** Fails while the process cannot do its work. */
  readonly readiness: Readonly<Record<string, Check>>;
  /** Longest time of one check, in milliseconds. */
  readonly checkDeadlineMs?: number;
}

export interface HttpServer {
  /** The port it listens on. */
  readonly port: number;
  /** `http://127.0.0.1:9464` */
  readonly url: string;
  /** Accepts no new connection and closes the open ones. Responses under way get half a second. */
  close(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * Starts to listen. @throws Fault `invalid_config` that names HTTP_HOST or HTTP_PORT where the address cannot
 * be used
 */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const server = createServer({ keepAliveTimeout: 65_000, headersTimeout: 10_000, requestTimeout: 15_000 });
  server.maxHeadersCount = 100;
  server.on('request', (request, response) => void respond(request, response, options));
  await listen(server, options);
  server.on('error', (error) => options.logger.error({ err: error }, 'HTTP server failed'));
  const { port } = server.address() as AddressInfo; // it listens on TCP
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  return { port, url: `http://${host}:${port}`, close: () => close(server) };
}

function listen(server: Server, { host, port }: HttpServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => reject(listenFault(error, host, port));
    server.once('error', onError);
    server.listen({ host, port }, () => {
      server.off('error', onError);
      resolve();
    });
  });
}

function listenFault(error: NodeJS.ErrnoException, host: string, port: number): Fault {
  const fault = (message: string) => new Fault('invalid_config', message, { cause: error });
  switch (error.code) {
    case 'EADDRINUSE':
      return fault(
        `HTTP_PORT must be a free port, got ${port}, which is in use at ${host}; 0 takes any free port`,
      );
    case 'EACCES':
      return fault(
        `HTTP_PORT must be a port that this user may listen on, got ${port}; ports below 1024 often need rights`,
      );
    default:
      return fault(
        `HTTP_HOST must be an address of this machine, got "${host}" (${error.code ?? 'unknown'})`,
      );
  }
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), 500);
  await closed;
  clearTimeout(timer);
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  options: HttpServerOptions,
): Promise<void> {
  let answer: Answer;
  try {
    answer = await answerTo(request, options);
  } catch (error) {
    options.logger.error({ err: error }, 'HTTP request failed');
    answer = json(500, { error: reportError(error).code });
  }
  // No route reads a body: it is discarded.
  request.resume();
  response.on('error', () => response.destroy());
  response.writeHead(answer.status, {
    'content-type': answer.contentType,
    'content-length': Buffer.byteLength(answer.body),
    'cache-control': 'no-store',
    ...answer.headers,
  });
  response.end(request.method === 'HEAD' ? undefined : answer.body);
}

async function answerTo(request: IncomingMessage, options: HttpServerOptions): Promise<Answer> {
  const [path] = (request.url ?? '/').split('?');
  const route = path === undefined ? undefined : routes.get(path);
  if (!route) return json(404, { error: 'not_found', paths: [...routes.keys()] });
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return {
      ...json(405, { error: 'method_not_allowed', allowed: ['GET', 'HEAD'] }),
      headers: { allow: 'GET, HEAD' },
    };
  }
  return route(options);
}

const routes: ReadonlyMap<string, (options: HttpServerOptions) => Promise<Answer>> = new Map([
  [
    '/metrics',
    async ({ metrics }) => ({ status: 200, contentType: metrics.contentType, body: await metrics.render() }),
  ],
  ['/healthz', async ({ liveness, checkDeadlineMs }) => checked(liveness, checkDeadlineMs)],
  ['/readyz', async ({ readiness, checkDeadlineMs }) => checked(readiness, checkDeadlineMs)],
]);

async function checked(checks: Readonly<Record<string, Check>>, deadlineMs = 2_000): Promise<Answer> {
  const report = await runChecks(checks, deadlineMs);
  return json(report.status === 'ok' ? 200 : 503, report);
}

const json = (status: number, value: unknown): Answer => ({
  status,
  contentType: 'application/json; charset=utf-8',
  body: `${JSON.stringify(value)}\n`,
});

/**
 * A check of /healthz or /readyz. Undefined: all is well; a string says what is wrong. The signal is aborted
 * at the deadline.
 */
type Check = (signal: AbortSignal) => string | undefined | Promise<string | undefined>;

interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  readonly message?: string;
}

interface Report {
  readonly status: 'ok' | 'failing';
  readonly checks: readonly CheckResult[];
}

/**
 * Runs all checks concurrently. Never rejects: a check that throws or takes longer than `deadlineMs` fails.
 */
async function runChecks(checks: Readonly<Record<string, Check>>, deadlineMs: number): Promise<Report> {
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, check]): Promise<CheckResult> => {
      const message = await messageOf(check, deadlineMs);
      return message === undefined ? { name, ok: true } : { name, ok: false, message };
    }),
  );
  return { status: results.every((result) => result.ok) ? 'ok' : 'failing', checks: results };
}

async function messageOf(check: Check, deadlineMs: number): Promise<string | undefined> {
  try {
    return await withDeadline(deadlineMs, check, () => `No answer within ${deadlineMs} ms`);
  } catch (error) {
    // A library's message may quote hosts and documents, which no HTTP client may see.
    return isFault(error) ? error.message : 'Failed unexpectedly';
  }
}
