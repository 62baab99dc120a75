// What must hold after a rollout, from the clients' own records and what Stripe has: nothing is lost but what the former version never had.
import type { Fleet } from '../../test/support/fleet.js';
import type { Clients, Told } from './clients.js';

/** The former version orders batches by seconds: of two in neighbouring seconds it may keep either. */
const looseMs = 2_000;

type Document = Readonly<Record<string, unknown>> & { readonly _id: string };

/** In words; none if all is well. To be called when nothing is under way any more. */
export async function faultsOf(fleet: Fleet, clients: Clients): Promise<readonly string[]> {
  const { db, user } = fleet;
  const faults: string[] = [];
  const ended = await user.allEnded(clients.requests, 60_000);
  for (const { command, status, error } of ended) {
    if (status === 'failed') faults.push(`${String(command)} failed: ${JSON.stringify(error)}`);
  }
  const stored = new Map(
    (await db.collection<Document>('stripe_customers').find().toArray()).map((each) => [each._id, each]),
  );
  for (const [id, fields] of clients.told) {
    for (const [field, told] of fields) faults.push(...faultsOfField(id, field, told, stored.get(id)));
  }
  for (const id of clients.marked) {
    const { deletedAt } = (stored.get(id)?.['_sync'] ?? {}) as { deletedAt?: Date };
    if (!deletedAt) faults.push(`${id} has lost its mark of deletion`);
  }
  return [...faults, ...atStripe(fleet, clients, stored)];
}

function faultsOfField(
  id: string,
  field: string,
  told: readonly Told[],
  stored: Document | undefined,
): readonly string[] {
  const last = told.at(-1);
  if (!last) return [];
  const value = Number(stored?.[field]);
  const kept = told.find((each) => each.value === value);
  if (!kept) return [`${id}.${field} is ${String(stored?.[field])}, which nobody told`];
  if (kept === last) return [];
  // Once the former version has merged a part, it refuses one of another field that was told before.
  const isLoose = !last.isOrdered && (last.isFollowed || last.doneMs - kept.sentMs <= looseMs);
  return isLoose ? [] : [`${id}.${field} is of ${last.sentMs - kept.doneMs} ms before the last batch`];
}

/** Every customer of Stripe is there as it is at Stripe. Those that Stripe deleted are marked. */
function atStripe(
  { simulator }: Fleet,
  { marked }: Clients,
  stored: ReadonlyMap<string, Document>,
): readonly string[] {
  const faults: string[] = [];
  const listed = new Set<string>();
  for (const customer of simulator.list()) {
    listed.add(customer.id);
    const { _id, _sync, app, ...fields } = stored.get(customer.id) ?? { _id: '' };
    if (_id === '') faults.push(`${customer.id} is missing`);
    else if (JSON.stringify(fields) !== JSON.stringify(customer))
      faults.push(`${customer.id} differs from Stripe`);
  }
  for (const { _id, _sync } of stored.values()) {
    const { deletedAt } = (_sync ?? {}) as { deletedAt?: Date };
    const isOfBatches = _id.startsWith('cus_batch');
    if (!listed.has(_id) && !isOfBatches && !deletedAt)
      faults.push(`${_id} was deleted at Stripe, and lives`);
    if (listed.has(_id) && deletedAt && !marked.has(_id))
      faults.push(`${_id} is marked as deleted, and lives`);
  }
  return faults;
}
