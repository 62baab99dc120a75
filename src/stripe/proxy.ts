// The egress proxy for calls to Stripe, as named in the environment, and tunnels through it. An answer of the
// proxy is never mistaken for an answer of Stripe. The proxy's credentials appear in no message and on no
// printable property.
import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { getProxyForUrl } from 'proxy-from-env';
import { Fault } from '../base/errors.js';

export type Tunnel =
  | { readonly kind: 'open'; readonly socket: Socket }
  | { readonly kind: 'failed'; readonly failure: ProxyFailure };

/** The proxy opened no tunnel. */
export interface ProxyFailure {
  readonly kind: 'proxy';
  /** Its address, without credentials. */
  readonly proxy: string;
  /** The status of its answer. */
  readonly status?: number;
  /** Node's code, if the proxy was unreachable or closed the connection. */
  readonly code?: string | undefined;
  /** It did not answer within this time. */
  readonly afterMs?: number;
}

export class Proxy {
  /** Scheme, host and port; no credentials. */
  readonly address: string;
  readonly #url: URL;
  readonly #authorization: string | undefined;

  /** @throws a fatal Fault `invalid_config` where the address is not of an HTTP proxy */
  constructor(address: string) {
    const url = URL.canParse(address) ? new URL(address) : undefined;
    const authorization = url && basicAuthorization(url);
    if (!url || !/^https?:$/.test(url.protocol) || url.hostname === '' || authorization === 'malformed') {
      throw new Fault(
        'invalid_config',
        'HTTPS_PROXY (or https_proxy, ALL_PROXY, all_proxy) must be the address of an HTTP proxy such as http://user:password@proxy.example.com:3128, credentials percent-encoded',
      );
    }
    this.address = `${url.protocol}//${url.host}`;
    this.#url = url;
    this.#authorization = authorization;
  }

  /**
   * Requests a tunnel to `authority` (`host:port`) by CONNECT (RFC 9110, 9.3.6). Calls back once, even if the
   * returned object was destroyed.
   */
  open(authority: string, callBack: (tunnel: Tunnel) => void): { destroy(): unknown } {
    const { protocol, hostname, port } = this.#url;
    const isTls = protocol === 'https:';
    const fail = (failure: { status?: number; code?: string | undefined }): void =>
      callBack({ kind: 'failed', failure: { kind: 'proxy', proxy: this.address, ...failure } });
    const request = (isTls ? https : http).request({
      method: 'CONNECT',
      host: hostname.replace(/^\[(.*)\]$/, '$1'),
      port: port || (isTls ? 443 : 80),
      path: authority,
      headers: {
        host: authority,
        ...(this.#authorization !== undefined && { 'proxy-authorization': this.#authorization }),
      },
      agent: false,
    });
    request.once('error', (error: NodeJS.ErrnoException) => fail({ code: error.code }));
    // Node emits this event for every answer to CONNECT, whatever its status.
    request.once('connect', ({ statusCode = 0 }, socket, early) => {
      // TLS over the tunnel reports its errors; without a listener they would end the process.
      socket.on('error', () => undefined);
      // A TLS server never speaks first.
      if (statusCode >= 200 && statusCode < 300 && early.length === 0) {
        callBack({ kind: 'open', socket });
        return;
      }
      socket.destroy();
      fail({ status: statusCode });
    });
    request.end();
    return request;
  }
}

/**
 * The proxy for calls to this URL, by HTTPS_PROXY or ALL_PROXY and NO_PROXY, lower case first. None for plain
 * HTTP, which only a simulator speaks.
 * @throws a fatal Fault `invalid_config` where the address is not of an HTTP proxy
 */
export function proxyFor(url: URL): Proxy | undefined {
  const address = url.protocol === 'https:' ? getProxyForUrl(url.href) : '';
  return address === '' ? undefined : new Proxy(address);
}

function basicAuthorization({ username, password }: URL): string | undefined {
  if (username === '' && password === '') return undefined;
  try {
    const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    return `Basic ${Buffer.from(credentials).toString('base64')}`;
  } catch {
    return 'malformed';
  }
}
