// The connection to MongoDB as the daemon opens it, and what becomes of a command whose socket is just closing.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import mongoose, { type mongo } from 'mongoose';
import { expect, test } from 'vitest';
import { createLogger } from '../../src/base/logger.js';
import { openConnection } from '../../src/mongo/connection.js';
import { persistently } from '../../src/mongo/faults.js';
import { databaseOf } from '../../src/mongo/sync-state.js';
import { atEnd } from '../support/cleanup.js';
import { freshDatabase } from '../support/database.js';

const database = freshDatabase();

/** The sockets that this process opens from now on. */
function watchSockets(): ReadonlySet<Socket> {
  const sockets = new Set<Socket>();
  const onSocket = (message: unknown): void => {
    const { socket } = message as { socket: Socket };
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  };
  subscribe('net.client.socket', onSocket);
  atEnd(() => {
    unsubscribe('net.client.socket', onSocket);
  });
  return sockets;
}

interface Numbered {
  _id: number;
  at?: number;
}

async function open(): Promise<mongo.Collection<Numbered>> {
  const connection = mongoose.createConnection();
  atEnd(() => connection.close());
  await openConnection(connection, {
    uri: database.uri,
    database: '',
    connectDeadlineMs: 10_000,
    appName: 'connection-test',
    logger: createLogger({ level: 'silent', format: 'json' }),
    signal: new AbortController().signal,
  });
  return databaseOf(connection).collection<Numbered>('numbers');
}

const commands: [string, (numbers: mongo.Collection<Numbered>) => Promise<unknown>][] = [
  ['a read', (numbers) => numbers.findOne({ _id: 1 })],
  ['a write', (numbers) => numbers.updateOne({ _id: 1 }, { $inc: { at: 1 } }, { upsert: true })],
];

test.each(commands)(
  '%s that is sent while its connection closes ends, and can be sent again',
  async (_, run) => {
    const sockets = watchSockets();
    const numbers = await open();
    await run(numbers);
    let destroyed = 0;

    for (let round = 0; round < 20; round += 1) {
      for (const socket of sockets) {
        socket.destroy();
        destroyed += 1;
      }
      await persistently('asking', () => run(numbers));
    }

    expect(destroyed).toBeGreaterThanOrEqual(20);
  },
  20_000,
);
