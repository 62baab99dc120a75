// All collections, indexes, views and validators that this service needs in MongoDB. The command migrate or
// the start of the daemon creates them; otherwise they are only checked.
import { Fault } from './base/errors.js';
import { ensureMirror, mirrorPlan } from './mirror/ensure.js';
import { type Change, type CollectionPlan, missingOf } from './mongo/collections.js';
import { persistently } from './mongo/faults.js';
import type { OurDatabase } from './mongo/sync-state.js';
import { ensureRequestIndexes, requestsPlan, statePlan } from './requests/indexes.js';
import { ensureRequestValidator, type ValidationSetting } from './requests/validator.js';
import { markAsOurs, requireOurs } from './ownership.js';
import { resources } from './resources/registry.js';

/**
 * Creates missing collections, indexes and views, and sets the validator. Idempotent; nothing is dropped. If
 * this user may not set the validator, the outcome is `refused` and no fault is thrown.
 * @throws Fault `foreign_collection` before anything is written; `mongodb_rejected` (fatal if the user lacks
 *   a right), `mongodb_unavailable`
 */
export async function migrate(
  database: OurDatabase,
  { validation }: { readonly validation: ValidationSetting },
): Promise<readonly Change[]> {
  const { db, names } = database;
  await requireOurs(database);
  const changes: Change[] = [];
  for (const { collection } of resources) changes.push(...(await ensureMirror(db, collection(names))));
  changes.push(...(await ensureRequestIndexes(database)));
  changes.push(await ensureRequestValidator(database, validation));
  await markAsOurs(database);
  return changes;
}

/**
 * Checks that collections and indexes exist. The daemon needs neither the views nor the validator: those are
 * for users.
 * @throws a fatal Fault that names what is missing and the command migrate, or `foreign_collection`;
 *   `mongodb_rejected`, `mongodb_unavailable`
 */
export async function checkMigrated(database: OurDatabase): Promise<void> {
  const { db, names } = database;
  await requireOurs(database);
  const mirrors = resources.map(({ collection }) => mirrorPlan(collection(names)));
  const plans: readonly CollectionPlan[] = [...mirrors, requestsPlan(names), statePlan(names)];
  const missing: string[] = [];
  for (const plan of plans) {
    missing.push(...(await persistently(`looking for ${plan.name}`, () => missingOf(db, plan))));
  }
  if (missing.length === 0) {
    await markAsOurs(database);
    return;
  }
  throw new Fault(
    'mongodb_rejected',
    `The database ${db.databaseName} is not ready; missing: ${missing.join(', ')}. Run "stripe-mongo-sync migrate" ` +
      'as a user who may create them, or set MONGODB_AUTO_MIGRATE=true',
    { kind: 'fatal' },
  );
}
