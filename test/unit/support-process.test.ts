// Proof of the test support: processes are seen, steered and always ended.
import { describe, expect, test } from 'vitest';
import { mark, releaseTo } from '../support/cleanup.js';
import { freePort, type RunningProcess, startProcess } from '../support/process.js';
import { until } from '../support/until.js';

describe('a process', () => {
  test('is waited for by its lines, which are parsed when they are JSON', async () => {
    const running = startProcess({
      nodeArgs: ['--eval', 'console.log(JSON.stringify({ msg: "up", port: 1 }))'],
    });

    const line = await running.waitForLine((each) => each.json?.['msg'] === 'up');

    expect(line).toEqual({ stream: 'stdout', text: '{"msg":"up","port":1}', json: { msg: 'up', port: 1 } });
    expect(await running.exit).toEqual({ code: 0, signal: null });
  });

  test('that ends without the line says so with its output', async () => {
    const running = startProcess({
      nodeArgs: ['--eval', 'console.error("no MONGODB_URI"); process.exitCode = 2'],
    });

    const waiting = running.waitForLine((each) => each.json?.['msg'] === 'up', { what: '"up"' });

    await expect(waiting).rejects.toThrow(/ended with 2 before "up"; it said:\nno MONGODB_URI/);
  });

  test('gets none of our environment but where programs and home are', async () => {
    process.env['STRIPE_SECRET_KEY'] = 'sk_test_of_the_developer';

    const running = startProcess({
      nodeArgs: ['--eval', 'console.log(Object.keys(process.env).sort().join())'],
      env: { LOG_LEVEL: 'debug' },
    });
    await running.exit;
    delete process.env['STRIPE_SECRET_KEY'];

    expect(running.lines[0]!.text).not.toContain('STRIPE_SECRET_KEY');
    expect(running.lines[0]!.text).toContain('LOG_LEVEL');
  });

  test('listens on the port it was given', async () => {
    const port = await freePort();
    const listen = `net.createServer().listen(${port}, '127.0.0.1', () => console.log('up'))`;

    const running = startProcess({ nodeArgs: ['--eval', listen] });

    expect(await running.waitForLine((line) => line.text === 'up')).toBeDefined();
    expect(await running.stop()).toEqual({ code: null, signal: 'SIGTERM' });
  });

  test('stands still while frozen', async () => {
    const running = startProcess({
      nodeArgs: ['--eval', 'setInterval(() => console.log(performance.now()), 1)'],
    });
    await running.waitForLine(() => true);

    await running.freeze();
    await startProcess({ nodeArgs: ['--eval', '0'] }).exit; // by now we have read what it wrote before
    const linesWhenFrozen = running.lines.length;
    await startProcess({ nodeArgs: ['--eval', '0'] }).exit;
    expect(running.lines.length).toBe(linesWhenFrozen);

    running.thaw();
    await until(() => running.lines.length > linesWhenFrozen, { what: 'a line after the thaw' });
  });

  test('that ignores SIGTERM is gone at the end of the test all the same', async () => {
    const place = mark();
    const running = startProcess({
      nodeArgs: [
        '--eval',
        'process.on("SIGTERM", () => console.log("no")); setInterval(() => {}, 1e6); console.log("up")',
      ],
    });
    await running.waitForLine((each) => each.text === 'up');
    running.signal('SIGTERM');
    await running.waitForLine((each) => each.text === 'no');

    await releaseTo(place);

    expect(await running.exit).toEqual({ code: null, signal: 'SIGKILL' });
  });

  describe('in a process group of its own', () => {
    const parent = async (): Promise<{ running: RunningProcess; childUrl: string }> => {
      const running = startProcess({ entry: 'test/support/fixtures/parent.process.ts' });
      const { json } = await running.waitForLine((line) => line.json?.['url'] !== undefined);
      return { running, childUrl: String(json?.['url']) };
    };

    test('is not reached by Ctrl-C, which is for whoever started it', async () => {
      const { running } = await parent();

      process.kill(-running.pid, 'SIGINT');

      const { json } = await running.waitForLine((line) => line.json?.['stoppedWith'] !== undefined);
      expect(json).toEqual({ stoppedWith: 0 });
      expect(await running.exit).toEqual({ code: 0, signal: null });
    });

    test('is gone all the same once whoever started it was killed', async () => {
      const { running, childUrl } = await parent();
      expect((await fetch(childUrl)).status).toBe(200);

      running.signal('SIGKILL');
      await running.exit;

      const isGone = (): Promise<boolean> =>
        fetch(childUrl).then(
          () => false,
          () => true,
        );
      await until(isGone, { what: 'the child to be gone' });
    });
  });
});
