// Opens the queue for a command that only looks and steers, and closes it whatever comes of it.
import type { mongo } from 'mongoose';
import { persistently } from '../mongo-faults.js';
import type { ExitCode } from './exit-code.js';
import { interruptibly } from './interruption.js';
import { openQueue, type Queue } from './open-queue.js';
import type { Terminal } from './terminal.js';

/** @throws as `openQueue`; what the task throws; `Interrupted` */
export const withQueue = (
  terminal: Terminal,
  task: (queue: Queue, signal: AbortSignal) => Promise<ExitCode>,
): Promise<ExitCode> =>
  interruptibly(async (signal) => {
    const queue = await openQueue(terminal, { isInProcess: false, signal });
    try {
      return await task(queue, signal);
    } finally {
      await queue.close();
    }
  });

/** MongoDB's time. @throws Fault `mongodb_unavailable` */
export async function databaseTime(db: mongo.Db): Promise<Date> {
  const { localTime } = await persistently('telling its time', () => db.command({ hello: 1 }));
  return localTime instanceof Date ? localTime : new Date();
}
