// The door of the simulator. Start it with `startSimulator` (this process) or `spawnSimulator` (a process of its own).
export { createRandom, type Random } from './random.js';
export { DOCUMENTED_LIMITS } from './rate-limits.js';
export { createdTimes } from './seed.js';
export { DEFAULT_ACCOUNT_ID, DEFAULT_API_VERSION, startSimulator } from './simulator.js';
export { spawnSimulator } from './spawn.js';
export { stripeClient } from './stripe-client.js';
export type * from './types.js';
