// Reads the text that a command was given as a file or on standard input.
import { createReadStream } from 'node:fs';
import { UsageFault } from './usage-fault.js';

/** All of it is read before anything is inserted, so that a fault on the last line changes nothing. */
const maxInputBytes = 256 * 1024 * 1024;

/**
 * The text of the file, of standard input for `-`.
 * @throws UsageFault where there is no readable file, it is too large or no UTF-8
 */
export async function readInput(file: string, stdin: NodeJS.ReadableStream): Promise<string> {
  const name = inputName(file);
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    const stream: AsyncIterable<unknown> = file === '-' ? stdin : createReadStream(file);
    for await (const chunk of stream) {
      const buffer = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
      bytes += buffer.byteLength;
      if (bytes > maxInputBytes) {
        throw new UsageFault([`${name} must have at most ${maxInputBytes} bytes: give it in several parts`]);
      }
      chunks.push(buffer);
    }
  } catch (error) {
    if (error instanceof UsageFault) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
    throw new UsageFault([`FILE must be a readable file or - for standard input, got "${file}" (${code})`]);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new UsageFault([`${name} must be text in UTF-8`]);
  }
}

/** As it stands in messages. */
export const inputName = (file: string): string => (file === '-' ? 'standard input' : file);
