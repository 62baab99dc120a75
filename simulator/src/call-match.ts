// Which calls an order of a test applies to, shared by faults and holds.
import type { CallInfo, CallMatch } from './types.js';

export function matchesCall(match: CallMatch, call: CallInfo): boolean {
  if (match.method !== undefined && match.method.toUpperCase() !== call.method) return false;
  if (match.endpoint !== undefined && match.endpoint !== call.endpoint) return false;
  const { path } = match;
  if (path === undefined) return true;
  if (typeof path === 'string') return call.url.startsWith(path);
  if (typeof path === 'function') return path(call);
  path.lastIndex = 0;
  return path.test(call.url);
}
