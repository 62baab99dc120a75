import { Agent, request as httpRequest } from 'node:http';
import { connect, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import { createLogger } from '../../src/base/logger.js';
import { type HttpServer, type HttpServerOptions, startHttpServer } from '../../src/http/server.js';
import { createMetrics } from '../../src/metrics/metrics.js';
import { atEnd } from '../support/cleanup.js';

const metrics = createMetrics({ stripeApiVersion: '2026-10-28.endive' });

async function start(options: Partial<HttpServerOptions> = {}): Promise<HttpServer> {
  const server = await startHttpServer({
    host: '127.0.0.1',
    port: 0,
    logger: createLogger({ level: 'silent', format: 'json' }),
    metrics,
    liveness: { poll: () => undefined },
    readiness: { startup: () => undefined, mongodb: () => undefined },
    ...options,
  });
  atEnd(() => server.close());
  return server;
}

interface Answered {
  readonly status: number;
  readonly body: unknown;
  readonly headers: Headers;
}

async function ask(server: HttpServer, path: string, method = 'GET'): Promise<Answered> {
  const response = await fetch(server.url + path, { method });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.startsWith('application/json') ?? false;
  return {
    status: response.status,
    body: isJson && text !== '' ? JSON.parse(text) : text,
    headers: response.headers,
  };
}

describe('the HTTP server', () => {
  it('gives metrics in the text format of Prometheus', async () => {
    const { status, body, headers } = await ask(await start(), '/metrics?x=1');

    expect(status).toBe(200);
    expect(headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(body).toMatch(
      /^stripe_sync_build_info\{version=".+",node=".+",stripe_api_version="2026-10-28.endive"\} 1$/m,
    );
  });

  it('answers 200 with every check while all is well', async () => {
    const server = await start();

    expect(await ask(server, '/healthz')).toMatchObject({
      status: 200,
      body: { status: 'ok', checks: [{ name: 'poll', ok: true }] },
    });
    expect(await ask(server, '/readyz')).toMatchObject({
      status: 200,
      body: {
        status: 'ok',
        checks: [
          { name: 'startup', ok: true },
          { name: 'mongodb', ok: true },
        ],
      },
    });
  });

  it('answers 503 and names what is missing, telling nothing of libraries', async () => {
    const server = await start({
      liveness: { poll: () => 'No poll for 42 s' },
      readiness: {
        startup: () => 'Waiting for MongoDB',
        mongodb: () => Promise.reject(new Error('connect mongodb://jane:secret@host')),
        account: () => {
          throw new Fault('account_mismatch', 'The key belongs to another account', { kind: 'fatal' });
        },
        fine: async () => undefined,
      },
    });

    expect(await ask(server, '/healthz')).toMatchObject({
      status: 503,
      body: { status: 'failing', checks: [{ name: 'poll', ok: false, message: 'No poll for 42 s' }] },
    });
    expect(await ask(server, '/readyz')).toMatchObject({
      status: 503,
      body: {
        status: 'failing',
        checks: [
          { name: 'startup', ok: false, message: 'Waiting for MongoDB' },
          { name: 'mongodb', ok: false, message: 'Failed unexpectedly' },
          { name: 'account', ok: false, message: 'The key belongs to another account' },
          { name: 'fine', ok: true },
        ],
      },
    });
  });

  it('waits for no check longer than its deadline', async () => {
    let given: AbortSignal | undefined;
    const server = await start({
      checkDeadlineMs: 50,
      readiness: {
        mongodb: (signal) => {
          given = signal;
          return new Promise(() => undefined);
        },
      },
    });

    expect(await ask(server, '/readyz')).toMatchObject({
      status: 503,
      body: { checks: [{ name: 'mongodb', ok: false, message: 'No answer within 50 ms' }] },
    });
    expect(given?.aborted).toBe(true);
  });

  it.each(['/', '/metrics/', '/healthz/../x', '/%2e', '//metrics', '/constructor'])(
    'answers 404 in JSON to %s',
    async (path) => {
      const answer = await ask(await start(), path);

      expect(answer.status).toBe(404);
      expect(answer.body).toEqual({ error: 'not_found', paths: ['/metrics', '/healthz', '/readyz'] });
    },
  );

  it('answers 405 to other methods than GET and HEAD', async () => {
    const server = await start();

    const refused = await ask(server, '/healthz', 'POST');
    expect(refused).toMatchObject({ status: 405, body: { error: 'method_not_allowed' } });
    expect(refused.headers.get('allow')).toBe('GET, HEAD');
    expect(await ask(server, '/healthz', 'HEAD')).toMatchObject({ status: 200, body: '' });
  });

  it('answers 500 without a reason when metrics cannot be rendered, and goes on', async () => {
    const server = await start({
      metrics: { contentType: 'text/plain', render: () => Promise.reject(new Error('jane@example.com')) },
    });

    expect(await ask(server, '/metrics')).toMatchObject({ status: 500, body: { error: 'internal' } });
    expect((await ask(server, '/healthz')).status).toBe(200);
  });

  it('names HTTP_PORT when the port is taken, and HTTP_HOST when the address is not there', async () => {
    const { port } = await start();

    await expect(start({ port })).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringMatching(new RegExp(`^HTTP_PORT must be a free port, got ${port}, `)) as string,
    });
    await expect(start({ host: '203.0.113.1' })).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringMatching(
        /^HTTP_HOST must be an address of this machine, got "203\.0\.113\.1"/,
      ) as string,
    });
  });

  it('closes quickly although clients keep their connections', async () => {
    const server = await start();
    const agent = new Agent({ keepAlive: true });
    atEnd(() => agent.destroy());
    await new Promise<void>((resolve, reject) => {
      const call = httpRequest(`${server.url}/healthz`, { agent }, (response) => {
        response.resume().once('end', resolve);
      });
      call.once('error', reject).end();
    });
    const halfOpen = await opened(server.port);
    halfOpen.write('GET /metrics HTTP/1.1\r\nHost: x\r\n');

    const startedAt = performance.now();
    await server.close();

    expect(performance.now() - startedAt).toBeLessThan(1_500);
    await expect(fetch(`${server.url}/healthz`)).rejects.toThrow();
  });
});

function opened(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket));
    // Ended by the server while it closes.
    socket.on('error', reject);
    atEnd(() => void socket.destroy());
  });
}
