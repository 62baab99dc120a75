// Counts what a task asks of MongoDB.
import type { mongo } from 'mongoose';

/** Commands of one kind (`find`, `update`) that this client sent while the task ran. @param client with `monitorCommands` */
export async function countCommands(
  client: mongo.MongoClient,
  kind: string,
  task: () => Promise<unknown>,
): Promise<number> {
  let count = 0;
  const onCommand = ({ commandName }: mongo.CommandStartedEvent): void => {
    if (commandName === kind) count += 1;
  };
  client.on('commandStarted', onCommand);
  try {
    await task();
  } finally {
    client.off('commandStarted', onCommand);
  }
  return count;
}
