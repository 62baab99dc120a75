// Starts the one replica set that the whole run shares; test files take a database of their own on it (database.ts).
import type { TestProject } from 'vitest/node';
import { startReplicaSet } from './mongodb.js';

declare module 'vitest' {
  interface ProvidedContext {
    mongodbUri: string;
  }
}

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const replicaSet = await startReplicaSet();
  project.provide('mongodbUri', replicaSet.uri);
  return replicaSet.stop;
}
