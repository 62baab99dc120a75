// The Stripe simulator for tests, benches and the demo. Start with `startSimulator` (this process) or
// `spawnSimulator` (its own).

export { DEFAULT_ACCOUNT_ID, DEFAULT_API_VERSION, startSimulator } from './simulator.js';
export { spawnSimulator } from './spawn.js';
export { DOCUMENTED_LIMITS } from './rate-limits.js';
export type * from './types.js';
