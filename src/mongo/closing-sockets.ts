// Works around a defect of the MongoDB driver (seen in 7.8 and 7.9). A command written to a socket that has
// just been destroyed waits for `drain`, which never comes, and neither does an error. The operation never
// ends, and no timeout of the driver applies. This happens when a primary dies or a load balancer closes
// connections.
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { mongo } from 'mongoose';
import { firstOf } from '../base/waiting.js';

/** The part of the driver's `Connection`, which is not public, that is used here. */
interface DriverConnection {
  readonly socket: Socket;
  writeCommand(...args: unknown[]): Promise<void>;
}

const ofMongoose = createRequire(createRequire(import.meta.url).resolve('mongoose'));

let isMended = false;

/**
 * From now on a write fails with a network error when its socket closes. Has no effect on a driver built
 * otherwise.
 */
export function mendClosingSockets(): void {
  if (isMended) return;
  isMended = true;
  const { Connection } = ofMongoose('mongodb/lib/cmap/connection.js') as {
    Connection?: { prototype: Partial<DriverConnection> };
  };
  const write = Connection?.prototype.writeCommand;
  if (!Connection || !write) return;
  Connection.prototype.writeCommand = function (this: DriverConnection, ...args) {
    return untilClosed(this.socket, write.apply(this, args));
  };
}

/** Waits for `written`. @throws MongoNetworkError if the socket closes before */
async function untilClosed(socket: Socket, written: Promise<void>): Promise<void> {
  let onClose = (): void => undefined;
  const closed = new Promise<never>((_resolve, reject) => {
    onClose = () => reject(new mongo.MongoNetworkError('The connection closed while a command was written'));
    if (socket.closed) onClose();
    else socket.once('close', onClose);
  });
  try {
    await firstOf([written, closed]);
  } finally {
    socket.off('close', onClose);
  }
}
