// A relay in front of a server that cuts the connections that go through it, as a load balancer, a firewall or a dying host does.
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { atEnd } from './cleanup.js';

export interface Relay {
  /** `127.0.0.1:port`. */
  readonly host: string;
  /** How many connections were cut so far. */
  readonly cuts: () => number;
  /** From now on every so many chunks from a client all connections are cut, in turn by a reset and by a close; 0, as at first: never. */
  cutEvery: (chunks: number) => void;
}

/** Starts a relay on 127.0.0.1 that ends with the test. */
export async function startRelay(port: number): Promise<Relay> {
  const clients = new Set<Socket>();
  let every = 0;
  let chunks = 0;
  let cuts = 0;

  const cutAll = (): void => {
    for (const client of clients) {
      if (cuts % 2 === 0) client.resetAndDestroy();
      else client.destroy();
      cuts += 1;
    }
  };
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    clients.add(client);
    client.on('close', () => {
      clients.delete(client);
      upstream.destroy();
    });
    upstream.on('close', () => client.destroy());
    client.on('error', () => client.destroy());
    upstream.on('error', () => client.destroy());
    client.on('data', () => {
      chunks += 1;
      if (every > 0 && chunks % every === 0) cutAll();
    });
    client.pipe(upstream);
    upstream.pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(async () => {
    for (const client of clients) client.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    cuts: () => cuts,
    cutEvery: (count) => {
      every = count;
    },
  };
}
