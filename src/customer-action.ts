// The library's public class, with what its users call and nothing else. The work is in operations.ts.
import mongoose from 'mongoose';
import { createLogger, type Logger } from './base/logger.js';
import { type ConfigOptions, loadConfig } from './config/load.js';
import { StripeCustomer } from './mirror/model.js';
import { toMongoFault } from './mongo/faults.js';
import { type ActionOptions, type BatchOptions, Operations, type ScanActionOptions } from './operations.js';
import { customer } from './resources/customer.js';
import { openServices, type Services } from './services.js';
import type { ItemResult, SyncResult } from './sync/outcome.js';

export type { ActionOptions, BatchOptions, ScanActionOptions } from './operations.js';

export interface ConnectOptions {
  /** Settings that take precedence over the environment and CONFIG_FILE. */
  readonly config?: ConfigOptions;
  /**
   * The connection whose database holds the mirror; by default mongoose's own connection, which
   * `StripeCustomer` uses. A closed connection is opened to `mongodb.uri`. A connection that the application
   * has opened or is opening is used as it is, and `close` leaves it open.
   */
  readonly connection?: mongoose.Connection;
  /** A pino logger; warnings to stderr by default. */
  readonly logger?: Logger;
  readonly signal?: AbortSignal;
}

/**
 * Mirrors a Stripe account's customers into MongoDB. Reads from Stripe and writes to the mirror only. All
 * methods throw Faults (`error.code`, `error.kind`): `retryable` where Stripe or MongoDB could not be reached
 * in time, `terminal` or `fatal` where a retry does not help.
 */
export class StripeCustomerAction {
  /** The mongoose model of the mirror. */
  static readonly modelClass = StripeCustomer;
  /** Stripe's name of the mirrored object. */
  static readonly stripeObjectClass = customer.object;

  readonly #services: Services;
  readonly #operations: Operations;

  private constructor(services: Services) {
    this.#services = services;
    this.#operations = new Operations(services, customer.object);
  }

  /**
   * Connects to MongoDB and Stripe and checks that the key is of the account that the database is bound to.
   * Opens no port.
   * @throws a fatal Fault that says what to do: `invalid_config`, `mongodb_unavailable`, `mongodb_rejected`,
   *   `stripe_key_refused`, `stripe_permission_denied`, `account_mismatch`, `account_unproven`, `wrong_mode`;
   *   the signal's reason on abort
   */
  static async connect(options: ConnectOptions = {}): Promise<StripeCustomerAction> {
    const connection = options.connection ?? mongoose.connection;
    const isOpen = await isOpenAlready(connection);
    const { config, readSecret } = loadConfig({
      requires: isOpen ? ['stripe.apiKey'] : ['stripe.apiKey', 'mongodb.uri'],
      ...(options.config && { options: options.config }),
    });
    const logger = options.logger ?? createLogger({ ...config.log, level: 'warn' }, 'stderr');
    const services = await openServices({
      config,
      connection,
      readKey: readSecret('stripe.apiKey'),
      logger,
      signal: options.signal ?? new AbortController().signal,
    });
    return new StripeCustomerAction(services);
  }

  /** Syncs one customer that the caller holds, as `syncBatch([customer])` does. No call to Stripe. */
  async sync(held: object, options: BatchOptions = {}): Promise<ItemResult> {
    return this.#operations.sync(held, options);
  }

  /**
   * Pages through all customers of the account and brings the mirror in line, removals included. Waits while
   * another scan runs on this database. On abort it first writes what it has listed, which takes at most 3 s.
   * @throws also a retryable Fault `read_allowance_used` while `stripe.monthlyReadAllowance` is used up
   */
  async syncAll(options: ScanActionOptions = {}): Promise<SyncResult> {
    return this.#exclusively(options, (held) => this.#operations.scan({ ...options, ...held }));
  }

  /**
   * Retrieves these customers from Stripe and syncs each. One that Stripe does not know is `failed`, code
   * `not_in_account`.
   */
  async syncByIds(ids: readonly string[], options: ActionOptions = {}): Promise<SyncResult> {
    return this.#operations.syncByIds(ids, options);
  }

  /** Syncs customers that the caller holds, whole (`object: 'customer'`) or in parts. No call to Stripe. */
  async syncBatch(batch: readonly unknown[], options: BatchOptions = {}): Promise<SyncResult> {
    return this.#operations.syncBatch(batch, options);
  }

  /**
   * Marks one customer as deleted in the mirror. Nothing is removed, and Stripe is not called. An unknown id
   * is `failed`, code `not_found`.
   */
  async softDelete(stripeId: string, options: ActionOptions = {}): Promise<ItemResult> {
    return this.#operations.softDelete(stripeId, options);
  }

  /**
   * Retrieves the candidates for removal that a scan held (`removalsHeld`) and marks as deleted those that
   * Stripe confirms. `heldFor` is the scan's request id or name. Waits while a scan runs on this database. An
   * interrupted approval is resumed, and the result covers both runs.
   */
  async approveRemovals(heldFor: string, options: ActionOptions = {}): Promise<SyncResult> {
    return this.#exclusively(options, (held) =>
      this.#operations.approveRemovals(heldFor, { ...options, ...held }),
    );
  }

  /** Aborts calls under way and closes what `connect` opened. */
  async close(): Promise<void> {
    await this.#services.close();
  }

  /** Runs a task that may write only while the scan lease is held. */
  async #exclusively<T>(
    options: ActionOptions,
    task: (held: { readonly signal: AbortSignal; readonly beforeWrite: () => void }) => Promise<T>,
  ): Promise<T> {
    return this.#services.exclusively(
      options.signal ?? new AbortController().signal,
      (signal, assertHeld) => {
        const beforeWrite = (): void => {
          options.beforeWrite?.();
          assertHeld();
        };
        return task({ signal, beforeWrite });
      },
    );
  }
}

/**
 * An application need not wait for `mongoose.connect()`: a connection that it is opening counts as open, too.
 */
async function isOpenAlready(connection: mongoose.Connection): Promise<boolean> {
  if (connection.readyState === mongoose.ConnectionStates.connecting) {
    await connection.asPromise().catch((error: unknown) => {
      throw toMongoFault(error, "opening the application's connection");
    });
  }
  return connection.readyState === mongoose.ConnectionStates.connected;
}
