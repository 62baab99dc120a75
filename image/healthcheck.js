// The image's HEALTHCHECK: asks /healthz where the configuration says that it is served. There is no curl in the image.
import { loadConfig } from './dist/config/load.js';

// Nothing but the address matters here: a secret that is being replaced, or is no longer there, does not make the daemon unhealthy.
const { CONFIG_FILE, HTTP_HOST, HTTP_PORT } = process.env;
const { host, port } = loadConfig({ env: { CONFIG_FILE, HTTP_HOST, HTTP_PORT } }).config.http;
const here = { '0.0.0.0': '127.0.0.1', '::': '[::1]' }[host] ?? (host.includes(':') ? `[${host}]` : host);
const answer = await fetch(`http://${here}:${port}/healthz`, { signal: AbortSignal.timeout(4_000) });
if (!answer.ok) {
  console.error(await answer.text());
  process.exitCode = 1;
}
