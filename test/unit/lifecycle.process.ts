// A process whose closer hangs, for lifecycle.test.ts.
import { runLifecycle } from '../../src/base/lifecycle.js';
import { createLogger } from '../../src/base/logger.js';

const logger = createLogger({ level: 'info', format: 'json' });
const held = setInterval(() => undefined, 1_000);

process.exitCode = await runLifecycle({ logger, timeoutMs: 60_000, ownsProcess: true }, async (lifecycle) => {
  lifecycle.onStop('hangs', () => new Promise(() => undefined));
  logger.info('Started');
  await lifecycle.untilStop();
});
clearInterval(held);
