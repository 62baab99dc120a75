// From an outcome to bytes: Stripe's headers, error bodies with their log link, and the ways a body can go wrong.
import type { ServerResponse } from 'node:http';
import type { StripeErrorBody } from './errors.js';
import type { Literal } from './fault-answers.js';
import { stripeJson } from './json-writer.js';
import type { Outcome } from './routes.js';
import type { FaultKind } from './types.js';

/** What goes over the wire, headers common to all answers not yet included. */
export interface Reply {
  status: number;
  headers: Record<string, string>;
  body: string | Buffer;
}

/** What all answers of one call carry. */
export interface ReplyContext {
  requestId: string;
  version: string;
  livemode: boolean;
  nowMs: number;
}

/** The answer of a route or fault as what is sent. */
export function toReply(outcome: Outcome | Literal, context: ReplyContext): Reply {
  if ('json' in outcome) return { status: 200, headers: {}, body: outcome.json };
  if ('body' in outcome) return outcome;
  return {
    status: outcome.status,
    headers: outcome.headers ?? {},
    body: renderError(outcome.error, context),
  };
}

/** https://docs.stripe.com/api/errors: the body of an error, with its link to the request log. */
function renderError(error: StripeErrorBody, context: ReplyContext): string {
  const logs = `https://dashboard.stripe.com/${context.livemode ? '' : 'test/'}logs`;
  const t = Math.floor(context.nowMs / 1000);
  return stripeJson({
    error: { ...error, request_log_url: `${logs}/${context.requestId}?t=${t}` },
  });
}

/**
 * Sends the reply, or the part of it that the fault lets through. Calls `done` when the answer has left, or when the
 * client gave up on it.
 */
export function transmit(
  response: ServerResponse,
  reply: Reply,
  context: ReplyContext,
  fault: FaultKind | undefined,
  done: () => void,
): void {
  response.statusCode = reply.status;
  response.sendDate = false;
  response.setHeader('Content-Type', 'application/json');
  response.setHeader('Date', httpDate(context.nowMs));
  response.setHeader('Request-Id', context.requestId);
  response.setHeader('Stripe-Version', context.version);
  for (const [name, value] of Object.entries(reply.headers)) response.setHeader(name, value);
  const body = typeof reply.body === 'string' ? Buffer.from(reply.body) : reply.body;
  if (fault?.kind !== 'truncate' || fault.how !== 'chunked')
    response.setHeader('Content-Length', body.length);
  if (fault === undefined || !isBodyFault(fault)) {
    response.end(body);
    done();
    return;
  }
  response.once('close', done);
  damage(response, body, fault);
}

type BodyFault = Extract<FaultKind, { kind: 'stallBody' | 'drip' | 'truncate' }>;

function isBodyFault(fault: FaultKind): fault is BodyFault {
  return fault.kind === 'stallBody' || fault.kind === 'drip' || fault.kind === 'truncate';
}

function damage(response: ServerResponse, body: Buffer, fault: BodyFault): void {
  switch (fault.kind) {
    case 'stallBody':
      response.write(body.subarray(0, Math.floor(body.length * (fault.share ?? 0.5))));
      return;
    case 'drip':
      drip(response, body, fault.everyMs, fault.bytes ?? 1);
      return;
    case 'truncate': {
      const half = body.subarray(0, Math.floor(body.length / 2));
      if (fault.how === 'chunked') response.end(half);
      else response.write(half, () => response.socket?.destroy());
    }
  }
}

function drip(response: ServerResponse, body: Buffer, everyMs: number, bytes: number): void {
  let sent = 0;
  const timer = setInterval(() => {
    const next = body.subarray(sent, sent + bytes);
    sent += next.length;
    if (sent < body.length) {
      response.write(next);
      return;
    }
    clearInterval(timer);
    response.end(next);
  }, everyMs);
  response.flushHeaders();
  response.once('close', () => clearInterval(timer));
}

let dateSecond = -1;
let dateText = '';

function httpDate(nowMs: number): string {
  const second = Math.floor(nowMs / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(second * 1000).toUTCString();
  }
  return dateText;
}
