// Run by `helm test` in a pod of its own: asks, by a dry run, for a customer that the account does not have. That the answer is
// `not_in_account` shows all of it: MongoDB takes the request, a daemon claims it, Stripe takes the key, and the result comes back.
// Usage: node helm-test.mjs MAIN ID SECONDS, where MAIN is the command line's main.js
import { spawn } from 'node:child_process';

const [main, id, seconds] = process.argv.slice(2);

/** Ends with what the command wrote to stdout, whatever its exit code: a customer that is not found is 1, too. */
function follow(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
    child.on('error', reject);
    child.on('close', () => resolve(output));
  });
}

/** The request as it ended; undefined where the command printed none, having said why on stderr. */
function requestOf(output) {
  try {
    return JSON.parse(output);
  } catch {
    return undefined;
  }
}

const request = requestOf(
  await follow([main, 'sync-by-ids', id, '--dry-run', '--json', '--timeout', seconds]),
);
const item = request?.result?.items?.[0];
if (item?.code === 'not_in_account') {
  console.log(`passed: a daemon asked Stripe for ${id}, which is not in the account`);
} else {
  console.error(`failed: expected not_in_account for ${id}, got ${whatInstead()}`);
  process.exitCode = 1;
}

function whatInstead() {
  if (!request) return `no end of the request within ${seconds} s; is a daemon ready?`;
  if (request.error) return `${request.error.code}: ${request.error.message}`;
  return item ? `${item.code ?? item.outcome}` : `the status ${request.status}`;
}
