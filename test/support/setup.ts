// Runs in every test file: ends what a test has started after that test, and what the file has started after the file.
import { afterAll, afterEach, beforeEach } from 'vitest';
import { mark, releaseTo } from './cleanup.js';

let startOfTest = 0;

beforeEach(() => {
  startOfTest = mark();
});

// Vitest runs these two after those of the test file itself, as they were registered before.
afterEach(async () => {
  await releaseTo(startOfTest);
});

afterAll(async () => {
  await releaseTo();
});
