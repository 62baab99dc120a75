// A question that a person answers at the terminal.
import { createInterface } from 'node:readline';
import { Refusal } from './faults.js';
import type { Terminal } from './screen/terminal.js';
import type { Session } from './session.js';

/** True where somebody can answer a question. */
export const isAnswered = ({ stdin }: Terminal): boolean => 'isTTY' in stdin && stdin.isTTY === true;

/** @throws Refusal unless the answer is yes; the signal's reason on abort */
export async function confirm({ terminal, signal }: Session, question: string): Promise<void> {
  const answer = new Promise<string>((resolve, reject) => {
    const lines = createInterface({ input: terminal.stdin });
    lines.once('line', (line) => {
      resolve(line);
      lines.close();
    });
    // The end of the input is no answer.
    lines.once('close', () => resolve(''));
    signal.addEventListener(
      'abort',
      () => {
        reject(signal.reason as Error); // Interrupted
        lines.close();
      },
      { once: true },
    );
  });
  terminal.note(question);
  if (!/^y(es)?$/i.test((await answer).trim())) throw new Refusal('Not confirmed; nothing was changed');
}
