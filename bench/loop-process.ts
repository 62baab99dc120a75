// What scans are compared with, as people write it, in a process of its own: argument 1 says which loop. Imports packages alone.
import http from 'node:http';
import { mongo } from 'mongoose';
import Stripe from 'stripe';

interface Customer {
  id: string;
}

interface Mirrored extends Customer {
  _id: string;
}

interface Page {
  data: Customer[];
  has_more: boolean;
}

const { STRIPE_API_BASE = '', STRIPE_API_KEY = '', MONGODB_URI = '' } = process.env;
const [, , name] = process.argv;

const withId = (customer: Customer): Mirrored => ({ _id: customer.id, ...customer });

/** Fetches a page, parses it, inserts it, and so on: the least that a first scan has to do. */
async function bareLoop(collection: mongo.Collection<Mirrored>): Promise<number> {
  const agent = new http.Agent({ keepAlive: true });
  let customers = 0;
  for (let after: string | undefined, isMore = true; isMore;) {
    const page = await fetchPage(agent, after);
    await collection.insertMany(page.data.map(withId), { ordered: false });
    customers += page.data.length;
    after = page.data.at(-1)?.id;
    isMore = page.has_more;
  }
  agent.destroy();
  return customers;
}

function fetchPage(agent: http.Agent, after: string | undefined): Promise<Page> {
  const query = `limit=100${after === undefined ? '' : `&starting_after=${after}`}`;
  const headers = { Authorization: `Bearer ${STRIPE_API_KEY}` };
  return new Promise((resolve, reject) => {
    const request = http.get(`${STRIPE_API_BASE}/v1/customers?${query}`, { agent, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')) as Page)); // our own server's
      response.on('error', reject);
    });
    request.on('error', reject);
  });
}

/** As in many a tutorial: auto-paging, and one upsert a customer. */
async function upsertEach(collection: mongo.Collection<Mirrored>): Promise<number> {
  let customers = 0;
  for await (const customer of stripe().customers.list({ limit: 100 })) {
    await collection.findOneAndUpdate({ _id: customer.id }, { $set: customer }, { upsert: true });
    customers += 1;
  }
  return customers;
}

/** One cursor, and one bulk write a page. */
async function bulkPages(collection: mongo.Collection<Mirrored>): Promise<number> {
  let customers = 0;
  for (let after: string | undefined, isMore = true; isMore;) {
    const page = await stripe().customers.list({
      limit: 100,
      ...(after !== undefined && { starting_after: after }),
    });
    const operations = page.data.map((customer): mongo.AnyBulkWriteOperation<Mirrored> => {
      return { replaceOne: { filter: { _id: customer.id }, replacement: { ...customer }, upsert: true } };
    });
    await collection.bulkWrite(operations, { ordered: false });
    customers += page.data.length;
    after = page.data.at(-1)?.id;
    isMore = page.has_more;
  }
  return customers;
}

let opened: Stripe | undefined;

function stripe(): Stripe {
  const { hostname, port, protocol } = new URL(STRIPE_API_BASE);
  return (opened ??= new Stripe(STRIPE_API_KEY, {
    host: hostname,
    port,
    protocol: protocol === 'http:' ? 'http' : 'https',
    telemetry: false,
  }));
}

const loops: Record<string, (collection: mongo.Collection<Mirrored>) => Promise<number>> = {
  bare: bareLoop,
  'upsert-each': upsertEach,
  'bulk-pages': bulkPages,
};
const loop = loops[name ?? ''];
if (!loop) throw new Error(`The loop must be one of ${Object.keys(loops).join(', ')}, got ${String(name)}`);

const client = await mongo.MongoClient.connect(MONGODB_URI);
try {
  const collection = client.db().collection<Mirrored>('customers');
  const started = performance.now();
  const customers = await loop(collection);
  const seconds = (performance.now() - started) / 1_000;
  const peakRssMiB = Math.round(process.resourceUsage().maxRSS / 1_024);
  const line = { customers, seconds, customersPerSecond: Math.round(customers / seconds), peakRssMiB };
  process.stdout.write(`${JSON.stringify(line)}\n`);
} finally {
  await client.close();
}
