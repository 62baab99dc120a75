// What each act of the demo is given, and how requests are shown.
import type { StripeSimulator } from 'stripe-simulator';
import type { Checks } from './checks.js';
import { packed } from './document.js';
import type { RequestDocument, Requests } from './follow.js';
import { document, note } from './show.js';
import type { World } from './world.js';

export interface Scene extends World {
  readonly simulator: StripeSimulator;
  readonly requests: Requests;
  readonly checks: Checks;
  /** What every replica is started with. */
  readonly settings: Readonly<Record<string, string>>;
}

export const customers = 5_000;

/** Inserts it, and prints what became of it. `told` is what is printed of a large one. */
export async function show(
  { requests }: Pick<Scene, 'requests'>,
  request: Record<string, unknown>,
  told = packed(request, 90),
): Promise<RequestDocument> {
  noteInsertion(told);
  const ended = await requests.insertAndFollow(request);
  showEnd(ended);
  return ended;
}

export const noteInsertion = (request: string): void => note(`db.sync_requests.insertOne(${request})`);

export function showEnd({ status, attempts, result, error }: RequestDocument): void {
  document({ status, attempts, ...(result && { result }), ...(error && { error }) });
}

/** The outcomes that occurred. */
export function counts({ result }: RequestDocument): Record<string, number> {
  const names = ['created', 'updated', 'unchanged', 'deleted', 'stale', 'failed'];
  return Object.fromEntries(
    names.map((name) => [name, result?.[name] ?? 0] as const).filter(([, count]) => count > 0),
  );
}
