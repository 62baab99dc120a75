// What a fault puts in the place of the answer. Faults of the connection and of the body are in server.ts and reply.ts.
import { defaultError, lockTimeout, rateLimited, type Refusal } from './errors.js';
import { stripeJson } from './json-writer.js';
import type { Outcome } from './routes.js';
import type { Answer, FaultKind } from './types.js';

/** An answer whose body is given to the byte. */
export interface Literal {
  status: number;
  headers: Record<string, string>;
  body: string;
}

const HTML_PAGE =
  '<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n' +
  '</body>\r\n</html>\r\n';

/** The answer under this fault; `compute` reads the one without it. */
export function faultyAnswer(
  fault: Exclude<FaultKind, { kind: 'custom' }>,
  livemode: boolean,
  compute: () => Outcome,
): Outcome | Literal {
  switch (fault.kind) {
    case 'status':
      return statusAnswer(fault.status, fault.body, fault.headers ?? {});
    case 'rateLimit':
      return rateLimited(fault.reason, livemode, fault.retryAfterSeconds);
    case 'lockTimeout':
      return lockTimeout();
    case 'html':
      return { status: fault.status ?? 502, headers: { 'Content-Type': 'text/html' }, body: HTML_PAGE };
    case 'null':
      return { status: 200, headers: {}, body: 'null' };
    case 'emptyPage':
      return withJson(compute(), (json) =>
        json.replace(
          /"data": .*,\n {2}"has_more": (?:true|false)(,\n {2}"url": "[^"]*"\n\})$/s,
          '"data": [],\n  "has_more": true$1',
        ),
      );
    case 'wrongLivemode':
      return withJson(compute(), (json) =>
        json.replace(
          /"livemode":( ?)(true|false)/g,
          (_, blank, mode) => `"livemode":${blank}${mode !== 'true'}`,
        ),
      );
    case 'reset':
    case 'stall':
    case 'stallBody':
    case 'drip':
    case 'truncate':
    case 'duplicatePage':
    case 'ignoreParameters':
      return compute();
  }
}

/** What a custom handler sees as the answer that would have been. */
export function toAnswer(outcome: Outcome): Answer {
  if ('json' in outcome) return { status: 200, headers: {}, body: outcome.json.toString() };
  return { status: outcome.status, headers: outcome.headers ?? {}, body: { error: outcome.error } };
}

export function fromAnswer(answer: Answer): Literal {
  const body = typeof answer.body === 'string' ? answer.body : stripeJson(answer.body);
  return { status: answer.status, headers: answer.headers ?? {}, body };
}

function statusAnswer(
  status: number,
  body: string | object | undefined,
  headers: Record<string, string>,
): Refusal | Literal {
  if (body === undefined) return { status, error: defaultError(status), headers };
  return { status, headers, body: typeof body === 'string' ? body : stripeJson(body) };
}

function withJson(outcome: Outcome, change: (json: string) => string): Outcome {
  return 'json' in outcome ? { json: change(outcome.json.toString()) } : outcome;
}
