// Mends a fault of the MongoDB driver (seen in 7.8 and 7.9): a command written to a socket that has just been destroyed waits for its
// `drain`, which never comes, nor does an error: the operation never ends, and no timeout of the driver's ends it. Replicas are cut off like
// that whenever a primary dies or a load balancer closes connections.
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { mongo } from 'mongoose';

/** What is known here of the driver's `Connection`, which is not public. */
interface DriverConnection {
  readonly socket: Socket;
  writeCommand(...args: unknown[]): Promise<void>;
}

const ofMongoose = createRequire(createRequire(import.meta.url).resolve('mongoose'));

let isMended = false;

/** From now on a write ends with a network error when its socket closes. Does nothing with a driver that is built otherwise. */
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

/** What `written` gives. @throws MongoNetworkError when the socket closes before */
async function untilClosed(socket: Socket, written: Promise<void>): Promise<void> {
  let onClose = (): void => undefined;
  const closed = new Promise<never>((_resolve, reject) => {
    onClose = () => reject(new mongo.MongoNetworkError('The connection closed while a command was written'));
    if (socket.closed) onClose();
    else socket.once('close', onClose);
  });
  try {
    await Promise.race([written, closed]);
  } finally {
    socket.off('close', onClose);
  }
}
