// Joins the queue with the action: each command of a request is one method of StripeCustomerAction.
import { assertNever } from './errors.js';
import { observedAtOf } from './requests/commands.js';
import type { CommandRunner } from './requests/runner.js';
import type { StripeCustomerAction } from './stripe-customer-action.js';
import { type ItemResult, type SyncResult, Tally } from './sync/outcome.js';

/** The worker holds the scan lease already when it runs a scan. */
export const runnerOf = (action: StripeCustomerAction): CommandRunner => ({
  async run(command, context) {
    const { signal, dryRun, logger } = context;
    const options = {
      signal,
      dryRun,
      logger,
      beforeWrite: () => context.assertHeld(),
      onProgress: (progress: Parameters<typeof context.onProgress>[0]) => context.onProgress(progress),
    };
    // A dry run keeps nothing: its next attempt starts from zero, so that attempts must count.
    const checkpoints = dryRun ? {} : { onCheckpoint: () => context.onCheckpoint() };
    switch (command.command) {
      case 'syncAll':
        return action.scanNow({ ...options, ...checkpoints, requestId: String(context.requestId) });
      case 'syncByIds':
        return action.syncByIds(command.ids, options);
      case 'syncBatch':
        return action.syncBatch(command.batch, { ...options, observedAt: observedAtOf(command, context) });
      case 'softDelete':
        return resultOf(await action.softDelete(command.stripeId, options));
      case 'approveRemovals':
        return action.approveRemovalsNow(command.request, { ...options, ...checkpoints });
      default:
        return assertNever(command);
    }
  },
});

function resultOf(item: ItemResult): SyncResult {
  const tally = new Tally();
  tally.add(item);
  return tally.result();
}
