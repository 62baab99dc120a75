// `npm run check`: every check, all of them even when one fails, with the output of those that failed.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';

const names = ['types', 'lint', 'format', 'layout', 'imports', 'unused'].map((name) => `check:${name}`);
if (existsSync('docs/generate.ts')) {
  names.push('docs:check');
}

/** Runs one npm script to its end and says how it went. */
function run(name) {
  return new Promise((resolve) => {
    const startedAt = Date.now();
    const child = spawn('npm', ['run', '--silent', name], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (output += chunk));
    child.on('close', (code) => {
      const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
      console.log(`${code === 0 ? 'ok    ' : 'FAILED'} ${name} ${seconds} s`);
      if (code !== 0) {
        console.log(output.trimEnd());
        process.exitCode = 1;
      }
      resolve();
    });
  });
}

// Two at a time: most of them are one thread of the compiler.
const next = async () => {
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    await run(name);
  }
};
await Promise.all([next(), next()]);
