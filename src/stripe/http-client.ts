// The SDK's own Node client, wrapped: a request needs an attempt that has not sent one yet, and nothing but GET gets through.
// Errors lose their codes here, for the SDK on its own repeats a call whose error says ECONNRESET or EPIPE.
import type { Agent, IncomingMessage } from 'node:http';
import Stripe from 'stripe';
import { Fault } from '../errors.js';
import { attemptOf, type Attempt } from './attempt.js';
import { readJson } from './response-body.js';

type Client = Stripe.HttpClient;
type Response = Stripe.HttpClientResponse;

export function createHttpClient(agent: Agent): Client {
  const node = Stripe.createNodeHttpClient(agent);
  return {
    getClientName: () => node.getClientName(),
    // Rejects, never throws: what it throws synchronously would be an unhandled rejection inside the SDK.
    makeRequest: async (host, port, path, method, headers, body, protocol, timeout) => {
      const attempt = attemptOf(headers);
      if (method !== 'GET')
        throw new Fault('internal', 'Only reads are made at Stripe', { kind: 'terminal' });
      if (!attempt?.begin()) {
        throw new Fault('internal', 'A call to Stripe needs a slot of its own', { kind: 'terminal' });
      }
      try {
        const response = await node.makeRequest(host, port, path, method, headers, body, protocol, timeout);
        return receivedBy(attempt, response);
      } catch (error) {
        attempt.fail({ kind: 'connection', code: codeOf(error) });
        throw withoutCode();
      }
    },
  };
}

/** The response, read by the attempt. The SDK is given an error's body, and of a success only that it was one. */
function receivedBy(attempt: Attempt, response: Response): Response {
  const status = response.getStatusCode();
  // The SDK would print a Stripe-Notice as a warning of the process.
  const { 'stripe-notice': _, ...headers } = response.getHeaders();
  attempt.answered(status, headers);
  const message = response.getRawResponse() as IncomingMessage; // the Node client's is one
  attempt.use(message);
  return {
    getStatusCode: () => status,
    getHeaders: () => headers,
    getRawResponse: () => message,
    toStream: (onComplete) => response.toStream(onComplete),
    toJSON: async () => {
      try {
        const body = await readJson(message);
        attempt.done(body);
        return isSuccess(status) || typeof body !== 'object' || body === null ? {} : body;
      } catch (error) {
        attempt.fail(error instanceof SyntaxError ? { kind: 'no_json' } : { kind: 'broken_off' });
        throw withoutCode();
      }
    },
  };
}

export const isSuccess = (status: number): boolean => status >= 200 && status < 300;

const withoutCode = (): Error => new Error('The call to Stripe failed');

function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(code) ? code : undefined;
}
