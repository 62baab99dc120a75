// What this process knows of the order of batches: the events that woke it, and the stamps on requests. The
// wake-ups tell nothing of what was inserted before their stream began, or while it was closed: the follower
// stamps that, and batches without a stamp wait for it.
import type { Logger } from '../../base/logger.js';
import { pause } from '../../base/waiting.js';
import { textOfToken } from '../../mongo/change-stream.js';
import type { OurDatabase } from '../../mongo/sync-state.js';
import type { Insertion, InsertionOrder } from '../../sync/telling.js';
import type { Claim } from '../claims.js';
import { type Known, orderOf, Seals, type Stamp } from '../insertion.js';
import { type RequestId, requestsOf } from '../request.js';
import { keyOf } from '../upkeep/guarded-updates.js';
import type { InsertionState } from '../upkeep/insertion-state.js';

/** Events that are remembered until their requests are claimed; a stamp tells the older ones. */
const maxRemembered = 5_000;
/** How long a claimed batch waits for its stamp. */
const stampWithinMs = 2_000;
const stampEveryMs = 50;
/** How long the search leaves out batches without a stamp. */
const catchUpWithinMs = 10_000;
const catchUpEveryMs = 200;

export interface InsertionsOptions {
  readonly database: OurDatabase;
  readonly state: InsertionState;
  readonly logger: Logger;
  /** Batches without a stamp may be claimed now. */
  readonly onCaughtUp: () => void;
}

export class Insertions {
  readonly seals: Seals;
  readonly #options: InsertionsOptions;
  readonly #remembered = new Map<string, Insertion>();
  #isCatchingUp = false;
  /** Whether the stream was open since the last `begin`. */
  #wasOpen = true;
  #isImpossible = false;
  /** Ends the wait for an earlier opening. */
  #closing = new AbortController();
  /** The follower of this process has handled all events up to here. */
  #handled = '';

  constructor(options: InsertionsOptions) {
    this.#options = options;
    this.seals = new Seals(() => options.state.secret());
  }

  /** Whether a search must leave out the batches without a stamp. */
  get isCatchingUp(): boolean {
    return this.#isCatchingUp;
  }

  /** The event of an insertion: known until the request is claimed. */
  remember(id: RequestId, insertion: Insertion): void {
    const key = keyOf(id);
    this.#remembered.delete(key);
    this.#remembered.set(key, insertion);
    if (this.#remembered.size <= maxRemembered) return;
    const [oldest] = this.#remembered.keys();
    if (oldest !== undefined) this.#remembered.delete(oldest);
  }

  /** What a claim knows and stores. */
  of(id: RequestId): { readonly insertion: Insertion; readonly stamp: Stamp | undefined } | undefined {
    if (this.#remembered.size === 0) return undefined;
    const insertion = this.#remembered.get(keyOf(id));
    return insertion && { insertion, stamp: this.seals.stampOf(id, insertion) };
  }

  /** The request was claimed and has its stamp. */
  forget(id: RequestId): void {
    this.#remembered.delete(keyOf(id));
  }

  /**
   * The stream of wake-ups is closed, or not open yet: what is inserted now may have no stamp when a search
   * finds it. A stream that cannot be opened again, for want of the right to it, is closed once: the search
   * would leave out batches for ever.
   */
  begin(): void {
    if (!this.#wasOpen) return;
    this.#wasOpen = false;
    this.#isCatchingUp = true;
    void this.seals.load().catch(() => undefined); // the first stamp that is read loads it
    this.#openLater(undefined);
  }

  /** The stream of wake-ups begins at `token`: what was inserted before is to be stamped first. */
  opened(token: string | undefined): void {
    this.#wasOpen = true;
    if (this.#isCatchingUp) this.#openLater(token);
  }

  /** Nobody follows, as this server has no change streams. */
  giveUp(): void {
    this.#isImpossible = true;
    this.#closing.abort();
    this.#end();
  }

  handledUpTo(token: string | undefined): void {
    if (token !== undefined && token > this.#handled) this.#handled = token;
  }

  /** @param token undefined: the time alone ends the wait */
  #openLater(token: string | undefined): void {
    this.#closing.abort();
    this.#closing = new AbortController();
    void this.#waitFor(token, this.#closing.signal);
  }

  async #waitFor(token: string | undefined, signal: AbortSignal): Promise<void> {
    const untilMs = performance.now() + catchUpWithinMs;
    while (performance.now() < untilMs && !(token !== undefined && (await this.#isHandled(token)))) {
      if (!(await pause(catchUpEveryMs, signal))) return;
    }
    if (!signal.aborted) this.#end();
  }

  async #isHandled(token: string): Promise<boolean> {
    if (this.#handled >= token) return true;
    const { position } = await this.#options.state.look().catch(() => ({ position: undefined }));
    return (textOfToken(position) ?? '') >= token;
  }

  #end(): void {
    if (!this.#isCatchingUp) return;
    this.#isCatchingUp = false;
    this.#options.onCaughtUp();
  }

  /** Ends every wait. */
  close(): void {
    this.#closing.abort();
  }

  /**
   * The order of a claimed batch. One without a stamp waits for it up to 2 s while a replica writes stamps.
   * Then its `_id` must do.
   */
  async orderOf(claim: Claim, signal: AbortSignal): Promise<InsertionOrder> {
    if (claim.known) return orderOf(claim, claim.known);
    const untilMs = performance.now() + stampWithinMs;
    if (await this.#isFollowed()) {
      do {
        const known = await this.#stampOf(claim);
        if (known) return orderOf(claim, known);
      } while (performance.now() < untilMs && (await pause(stampEveryMs, signal)));
      const { logger } = this.#options;
      if (!signal.aborted)
        logger.warn(
          { requestId: claim.id },
          'The insertion of a batch was not told in time; its _id orders it',
        );
    }
    return orderOf(claim, undefined);
  }

  async #isFollowed(): Promise<boolean> {
    if (this.#isImpossible) return false;
    return this.#options.state.look().then(
      ({ isFollowed }) => isFollowed,
      () => false,
    );
  }

  async #stampOf({ id, fence }: Claim): Promise<Known | undefined> {
    const requests = requestsOf(this.#options.database);
    const told = this.of(id);
    try {
      if (told?.stamp) {
        // The event came after the claim, which could not store it. The next attempt may be elsewhere.
        const held = { _id: { $eq: id }, 'lease.fence': fence };
        await requests.updateOne(held, { $set: { inserted: told.stamp } });
        this.forget(id);
      }
      if (told) return told.insertion;
      const found = await requests.findOne({ _id: { $eq: id } }, { projection: { inserted: 1 } });
      return await this.seals.read(id, found?.['inserted']);
    } catch {
      return told?.insertion; // the follower stores it, and the next try reads it
    }
  }
}
