// Reads the body of an answer as bytes. The SDK puts its text together chunk by chunk, and of a page with a character beyond Latin-1 that makes
// a string of 150 KB which only a full garbage collection frees (measured at 10 pages a second: a scan leaves 2 to 3 MB a second to those,
// and 0.6 this way).
import type { IncomingMessage } from 'node:http';

/** @throws SyntaxError where it is no JSON; another error where it breaks off */
export async function readJson(message: IncomingMessage): Promise<unknown> {
  const body = await readWhole(message);
  return JSON.parse(body.toString('utf8'));
}

function readWhole(message: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    message.on('data', (chunk: Buffer) => chunks.push(chunk));
    message.once('error', reject);
    // Not everything that breaks off emits an error.
    message.once('close', () => {
      if (!message.complete) reject(new Error('The answer broke off'));
    });
    message.once('end', () => resolve(Buffer.concat(chunks)));
  });
}
