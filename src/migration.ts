// Everything that this service needs to be there in MongoDB, gathered: created by the command migrate and at start, or only looked for.
import type { Connection } from 'mongoose';
import { Fault } from './base/errors.js';
import { ensureMirror, mirrorPlan } from './mirror/ensure.js';
import { type Change, type CollectionPlan, missingOf } from './mongo/collections.js';
import { databaseOf } from './mongo/connection.js';
import { persistently } from './mongo/faults.js';
import { ensureRequestIndexes, requestsPlan, statePlan } from './requests/indexes.js';
import { ensureRequestValidator, type ValidationSetting } from './requests/validator.js';
import { resources } from './resources/registry.js';

/**
 * Creates what is missing of collections, indexes and views, and sets the validator. Idempotent; nothing is dropped. A validator that
 * this user may not set is no fault but `refused`.
 * @throws Fault `mongodb_rejected` (fatal where the user lacks a right), `mongodb_unavailable`
 */
export async function migrate(
  connection: Connection,
  { validation }: { readonly validation: ValidationSetting },
): Promise<readonly Change[]> {
  const db = databaseOf(connection);
  const changes: Change[] = [];
  for (const { collection } of resources) changes.push(...(await ensureMirror(db, collection)));
  changes.push(...(await ensureRequestIndexes(connection)));
  changes.push(await ensureRequestValidator(connection, validation));
  return changes;
}

/**
 * Looks whether collections and indexes are there. Views and the validator are for others; the daemon works without.
 * @throws a fatal Fault that names what is missing and the command migrate; `mongodb_rejected`, `mongodb_unavailable`
 */
export async function checkMigrated(connection: Connection): Promise<void> {
  const db = databaseOf(connection);
  const mirrors = resources.map(({ collection }) => mirrorPlan(collection));
  const plans: readonly CollectionPlan[] = [...mirrors, requestsPlan, statePlan];
  const missing: string[] = [];
  for (const plan of plans) {
    missing.push(...(await persistently(`looking for ${plan.name}`, () => missingOf(db, plan))));
  }
  if (missing.length === 0) return;
  throw new Fault(
    'mongodb_rejected',
    `The database ${db.databaseName} is not ready, it lacks the ${missing.join(', the ')}: run "stripe-mongo-sync migrate" ` +
      'as a user who may create them, or set MONGODB_AUTO_MIGRATE=true',
    { kind: 'fatal' },
  );
}
