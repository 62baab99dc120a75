// Makes requests of the customers of a batch, as many as they need.
import { isFault } from '../errors.js';
import { newRequest } from '../requests/commands.js';
import type { CommandInput } from '../requests/document.js';
import { splitBatch } from '../requests/split-batch.js';
import type { BatchEntry } from './batch-input.js';
import type { Job } from './job.js';
import { UsageFault } from './usage-fault.js';

export interface BatchSource {
  /** Of the file, for messages. */
  readonly name: string;
  /** When the customers were read from Stripe; undefined for now. */
  readonly observedAt: Date | undefined;
}

/** @throws UsageFault where a single customer is too large for a request */
export function batchJob(entries: readonly BatchEntry[], source: BatchSource): Job {
  const batches = splitBatch(entries, ({ customer }) => customer);
  return { inputs: batches.map((batch) => inputFor(batch, source)), entries: entries.length };
}

function inputFor(batch: readonly BatchEntry[], { name, observedAt }: BatchSource): CommandInput {
  const customers = batch.map(({ customer }) => customer);
  const input: CommandInput = { command: 'syncBatch', batch: customers, ...(observedAt && { observedAt }) };
  const [first] = batch;
  if (first && batch.length === 1) refuseTooLarge(input, `${name}: ${first.place}`);
  return input;
}

/** One that is too large for a request stands alone in its batch. */
function refuseTooLarge(input: CommandInput, place: string): void {
  try {
    newRequest(input);
  } catch (error) {
    throw isFault(error) ? new UsageFault([`${place}: ${error.message}`]) : error;
  }
}
