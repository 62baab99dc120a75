// Wake-ups from a change stream on the requests. The stream only wakes workers. The pending documents are
// the source of truth, and the poll finds what the stream misses. The stream therefore keeps no resume token:
// after each opening the worker searches for anything.
import type { mongo } from 'mongoose';
import type { Logger } from '../../base/logger.js';
import {
  ChangeStreamFollower,
  needsReplicaSet,
  type StreamEnd,
  textOfToken,
} from '../../mongo/change-stream.js';
import { isPassing } from '../../mongo/faults.js';
import type { OurDatabase } from '../../mongo/sync-state.js';
import type { Insertion } from '../../sync/telling.js';
import { commandsOf, type LaneName } from '../commands.js';
import { isInsertionOfBatch } from '../insertion.js';
import { type RequestId, requestsOf, requestStatuses } from '../request.js';

export type WakeUp =
  /** Search for anything: the stream has just been opened at `token` and does not contain earlier events. */
  | { readonly kind: 'opened'; readonly token: string | undefined }
  /** Events may be missed until it is opened again; `isFinal`: it is not. */
  | { readonly kind: 'ended'; readonly isFinal: boolean }
  | {
      readonly kind: 'pending';
      readonly id: RequestId;
      /** Its lane, if the event tells; `unusable` belongs to no lane. */
      readonly lane: LaneName | 'unusable' | undefined;
      /** When it began to wait, by the database's clock. */
      readonly wokenAt: Date | undefined;
      /** Of a batch that has just been inserted. */
      readonly insertion: Insertion | undefined;
    }
  | { readonly kind: 'cancel'; readonly id: RequestId };

export interface WakeUpsOptions {
  readonly database: OurDatabase;
  readonly logger: Logger;
  readonly onWakeUp: (wakeUp: WakeUp) => void;
}

/** What the pipeline below projects. */
interface RequestEvent {
  readonly _id?: unknown;
  readonly documentKey: { readonly _id: RequestId };
  readonly lane?: LaneName | 'unusable';
  readonly cancel?: unknown;
  readonly wallTime?: Date;
  /** Of the insertion of a batch. */
  readonly insertedAt?: Date;
}

const updated = (field: string): string => `updateDescription.updatedFields.${field}`;

const status = { $ifNull: ['$fullDocument.status', 'pending'] };
const isOf = (name: LaneName): mongo.BSON.Document => ({ $in: ['$fullDocument.command', commandsOf(name)] });

const lane: mongo.BSON.Document = {
  $switch: {
    branches: [
      { case: { $not: [{ $in: [status, requestStatuses] }] }, then: 'unusable' },
      { case: isOf('small'), then: 'small' },
      { case: isOf('scan'), then: 'scan' },
    ],
    default: 'unusable',
  },
};

/**
 * Matches insertions, requests that became pending and are due, and cancellations. Claims, renewals, progress
 * and results do not match, so workers do not wake each other. Only the id of a document is transferred.
 */
const pipeline: mongo.BSON.Document[] = [
  {
    $match: {
      $or: [
        { operationType: 'insert' },
        { operationType: 'update', [updated('cancel')]: true },
        { operationType: 'update', [updated('status')]: 'pending', [updated('runAt')]: { $exists: false } },
        // A request with a future `runAt` waits after a fault; the poll finds it when it is due.
        {
          operationType: 'update',
          [updated('status')]: 'pending',
          [updated('runAt')]: { $type: 'date' },
          $expr: { $lte: [`$${updated('runAt')}`, '$wallTime'] },
        },
        // A user's replaceOne. MongoDB may also log an update as one.
        { operationType: 'replace', 'fullDocument.status': { $in: ['pending', null] } },
      ],
    },
  },
  {
    $project: {
      'documentKey._id': 1,
      wallTime: 1,
      cancel: `$${updated('cancel')}`,
      lane: { $cond: [{ $eq: ['$operationType', 'update'] }, '$$REMOVE', lane] },
      insertedAt: { $cond: [isInsertionOfBatch, '$wallTime', '$$REMOVE'] },
    },
  },
];

/** Long enough for a few requests of 200 a second, short beside the time that one takes. */
const gatherMs = 12;

export class WakeUps {
  #follower: ChangeStreamFollower<RequestEvent> | undefined;

  constructor(private readonly options: WakeUpsOptions) {}

  start(): void {
    this.#follower ??= new ChangeStreamFollower<RequestEvent>({
      collection: () => requestsOf(this.options.database),
      pipeline,
      gatherMs,
      isFinal: needsReplicaSet,
      onOpened: (token) => this.options.onWakeUp({ kind: 'opened', token: textOfToken(token) }),
      onEvent: (event) => this.#wake(event),
      onEnded: (end) => this.#tell(end),
    });
  }

  /** Ends the stream; no event comes after the call. */
  close(): void {
    this.#follower?.close();
  }

  #wake({ _id, documentKey: { _id: id }, cancel, lane, wallTime, insertedAt }: RequestEvent): void {
    if (cancel === true) {
      this.options.onWakeUp({ kind: 'cancel', id });
      return;
    }
    const token = insertedAt && textOfToken(_id);
    const insertion = insertedAt && token !== undefined ? { token, at: insertedAt } : undefined;
    this.options.onWakeUp({ kind: 'pending', id, lane, wokenAt: wallTime, insertion });
  }

  #tell({ error, isFinal, failures }: StreamEnd): void {
    const { logger, onWakeUp } = this.options;
    onWakeUp({ kind: 'ended', isFinal });
    if (isFinal) {
      logger.warn(
        'MongoDB is not a replica set and has no change streams; polling finds requests every requests.pollIntervalMs',
      );
    } else if (failures === 1) {
      logger.warn(
        { err: error, isPassing: isPassing(error) },
        'Change stream ended; reopening it. Polling finds requests until then',
      );
    }
  }
}
