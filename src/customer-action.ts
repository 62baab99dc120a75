// The library's face: StripeCustomerAction, with what its users call and nothing else. The work is in operations.ts.
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
  /** Over what the environment and CONFIG_FILE say. */
  readonly config?: ConfigOptions;
  /**
   * Where the mirror is. By default mongoose's own connection, on which `StripeCustomer` lives: opened to `mongodb.uri`, or used as
   * it is when the application has opened it already, or has begun to: its database then holds the mirror, and `close` leaves it open.
   */
  readonly connection?: mongoose.Connection;
  /** A pino logger; warnings to stderr by default. */
  readonly logger?: Logger;
  readonly signal?: AbortSignal;
}

/**
 * Brings a MongoDB mirror in line with a Stripe account's customers. Reads from Stripe, writes to the mirror alone. All methods throw
 * Faults (`error.code`, `error.kind`): `retryable` where Stripe or MongoDB could not be reached in time, `terminal` or `fatal` where
 * trying again would not help.
 */
export class StripeCustomerAction {
  /** The mongoose model of the mirror. */
  static readonly modelClass = StripeCustomer;
  /** Stripe's name of what is mirrored. */
  static readonly stripeObjectClass = customer.object;

  readonly #services: Services;
  readonly #operations: Operations;

  private constructor(services: Services) {
    this.#services = services;
    this.#operations = new Operations(services);
  }

  /**
   * Connects to MongoDB and Stripe and makes sure that the two belong together. Listens on no port.
   * @throws a fatal Fault that says what to do: `invalid_config`, `mongodb_unavailable`, `mongodb_rejected`, `stripe_key_refused`,
   *   `account_mismatch`, `wrong_mode`; the signal's reason on abort
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

  /** One customer that the caller holds into the mirror; does what `syncBatch([customer])` does. No call to Stripe. */
  async sync(held: object, options: BatchOptions = {}): Promise<ItemResult> {
    return this.#operations.sync(held, options);
  }

  /**
   * Pages through every customer of the account and brings the mirror in line, removals included. Waits while another scan runs on
   * this database. On abort what was listed by then is written before it ends, which takes 3 s at the most.
   * @throws besides, a retryable Fault `read_allowance_used` while `stripe.monthlyReadAllowance` is used up
   */
  async syncAll(options: ScanActionOptions = {}): Promise<SyncResult> {
    return this.#exclusively(options, (held) => this.#operations.scan({ ...options, ...held }));
  }

  /** Retrieves the given customers from Stripe and syncs each. One that Stripe does not know is `failed`, code `not_in_account`. */
  async syncByIds(ids: readonly string[], options: ActionOptions = {}): Promise<SyncResult> {
    return this.#operations.syncByIds(ids, options);
  }

  /** Syncs customers that the caller already holds, whole (`object: 'customer'`) or in parts. No call to Stripe. */
  async syncBatch(batch: readonly unknown[], options: BatchOptions = {}): Promise<SyncResult> {
    return this.#operations.syncBatch(batch, options);
  }

  /** Marks one customer as deleted in the mirror; nothing is removed, Stripe is not called. Unknown ids: `failed`, code `not_found`. */
  async softDelete(stripeId: string, options: ActionOptions = {}): Promise<ItemResult> {
    return this.#operations.softDelete(stripeId, options);
  }

  /**
   * Retrieves the candidates for removal that a scan has held (`removalsHeld`), and marks those of which Stripe says that they are
   * deleted. `heldFor` is the scan's request id, or the name it was given. Waits while a scan runs on this database. One that was interrupted
   * is gone on with, and the result tells of both.
   */
  async approveRemovals(heldFor: string, options: ActionOptions = {}): Promise<SyncResult> {
    return this.#exclusively(options, (held) =>
      this.#operations.approveRemovals(heldFor, { ...options, ...held }),
    );
  }

  /** Ends calls under way and closes what `connect` opened. */
  async close(): Promise<void> {
    await this.#services.close();
  }

  /** Runs a task under the scan lease: it may write while that is held. */
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

/** Applications need not wait for `mongoose.connect()`; a connection that they have begun to open is theirs, too. */
async function isOpenAlready(connection: mongoose.Connection): Promise<boolean> {
  if (connection.readyState === mongoose.ConnectionStates.connecting) {
    await connection.asPromise().catch((error: unknown) => {
      throw toMongoFault(error, "opening the application's connection");
    });
  }
  return connection.readyState === mongoose.ConnectionStates.connected;
}
