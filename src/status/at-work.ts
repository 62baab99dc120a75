// Who works on a database right now, for commands that nobody may be at work for: daemons by their heartbeat,
// other processes (the library, `--in-process`) by the leases that they hold.
import { persistently } from '../mongo/faults.js';
import { type OurDatabase, stateIds, stateOf } from '../mongo/sync-state.js';
import { requestsOf } from '../requests/request.js';
import { readReplicas } from './replicas.js';

/** Few processes run these. */
const maxRunning = 1_000;

/**
 * Names of the processes, as in leases; each once. A process that was killed counts until its heartbeats or
 * leases have run out.
 * @throws Fault `mongodb_rejected` where the user may not read, `mongodb_unavailable`
 */
export async function readAtWork(database: OurDatabase): Promise<readonly string[]> {
  const states = stateOf(database);
  const replicas = await readReplicas(states);
  const [scanLease, running] = await persistently('reading who is at work', () =>
    Promise.all([
      states.findOne({ _id: stateIds.scanLease, $expr: { $gt: ['$expiresAt', '$$NOW'] } }),
      requestsOf(database)
        .find(
          { status: 'running', $expr: { $gt: ['$lease.expiresAt', '$$NOW'] } },
          { projection: { _id: 0, owner: '$lease.owner' }, limit: maxRunning },
        )
        .toArray(),
    ]),
  );
  const owners = [
    ...replicas.filter(({ isAlive }) => isAlive).map(({ owner }) => owner),
    scanLease?.['owner'],
    ...running.map(({ owner }): unknown => owner),
  ];
  return [...new Set(owners.filter((owner) => typeof owner === 'string'))];
}
