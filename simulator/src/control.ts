// The control API: `POST /_simulator/<command>` with a JSON body, for tests whose simulator runs in its own process.
// No key is asked for: the simulator listens on 127.0.0.1 and holds nothing but test data.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import { type ControlContext, isCommandName, runCommand } from './control-commands.js';
import type { StripeSimulator } from './types.js';

const PREFIX = '/_simulator/';

/** Answers 200 `{ result }`, or 400 and 404 `{ error }` with what was wrong. */
export function controlHandler(simulator: StripeSimulator) {
  const context: ControlContext = { simulator, faults: new Map() };
  return (request: IncomingMessage, response: ServerResponse): void => {
    const name = request.url?.slice(PREFIX.length) ?? '';
    answer(context, name, request).then(
      (result) => reply(response, 200, { result }),
      (error: unknown) => reply(response, 400, { error: explain(error) }),
    );
  };
}

async function answer(context: ControlContext, name: string, request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer); // Without an encoding, a stream of bytes.
  if (!isCommandName(name)) throw new Error(`There is no control command "${name}"`);
  const body = Buffer.concat(chunks).toString();
  return runCommand(name, context, body === '' ? {} : JSON.parse(body));
}

function reply(response: ServerResponse, status: number, body: object): void {
  if (response.destroyed) return;
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(body));
}

function explain(error: unknown): string {
  if (error instanceof z.ZodError) return z.prettifyError(error);
  return error instanceof Error ? error.message : String(error);
}
