// The mongoose model of the mirror, for applications that read it. Only the daemon writes: the model refuses
// save().
import mongoose from 'mongoose';
import { defaultNames } from '../mongo/sync-state.js';

/** When something was told: for the daemon's own comparisons. */
export interface ToldStamp {
  /** For an answer of Stripe: when the read was sent and when it was answered. On MongoDB's clock. */
  observed: { from: Date; to: Date };
  /** Place of a batch in the order of insertions; absent for an answer of Stripe. */
  position?: string;
  /** The caller gave the time. */
  isDated?: true;
}

/** The sync's own data on a mirrored document. Everything else in it is Stripe's, except `app`. */
export interface SyncStamp extends ToldStamp {
  /** Names the last write alone. */
  writeId?: string;
  /** Hash of the canonical JSON; absent after a partial batch that changed fields. */
  hash?: string;
  /** Fields that parts told since the whole customer was, and when. */
  told?: ({ fields: string[] } & ToldStamp)[];
  /** Where parts have told fields: when the whole customer was told; absent if only parts are known. */
  whole?: ToldStamp;
  /** The Stripe API version that defines the shape of the fields. */
  apiVersion: string;
  livemode: boolean;
  source: 'list' | 'retrieve' | 'batch' | 'request';
  writtenAt: Date;
  /** Absent until the customer is deleted. */
  deletedAt?: Date;
  deletedBy?: 'stripe' | 'request';
}

/** A mirrored customer: what Stripe returned, plus `_sync`, plus the application's own `app`. */
export interface MirroredCustomer {
  _id: string;
  id: string;
  object?: 'customer';
  /** Unix seconds, as at Stripe. */
  created?: number;
  email?: string | null;
  name?: string | null;
  metadata?: Record<string, string>;
  livemode?: boolean;
  _sync: SyncStamp;
  /** Belongs to the application; no sync reads or changes it. */
  app?: unknown;
  [field: string]: unknown;
}

interface LiveHelper {
  /** Only customers that are not marked as deleted. */
  live<Q extends mongoose.Query<unknown, MirroredCustomer>>(this: Q): Q;
}

export type StripeCustomerModel = mongoose.Model<MirroredCustomer, LiveHelper>;

/**
 * Everything Stripe sends is kept under its name and type: no field is cast, dropped or added. Only `_id` is
 * declared, so that references to customers cast as strings.
 */
export const customerSchema = new mongoose.Schema<MirroredCustomer, StripeCustomerModel, object, LiveHelper>(
  { _id: String },
  {
    collection: defaultNames.customers,
    strict: false,
    strictQuery: false,
    minimize: false,
    versionKey: false,
    id: false,
    autoIndex: false,
    autoCreate: false,
    bufferCommands: false,
  },
);

customerSchema.query = {
  live(this: mongoose.Query<unknown, MirroredCustomer>) {
    return this.where({ '_sync.deletedAt': { $exists: false } });
  },
} as never; // mongoose types query helpers by their call sites; LiveHelper above is that type

customerSchema.pre('save', () => {
  throw new Error(
    'The mirror is written by stripe-mongo-sync alone; keep your own fields under app with updateOne',
  );
});

const modelName = 'StripeCustomer';

/**
 * The mirror under its default name on mongoose's default connection; `ref: 'StripeCustomer'` and `populate`
 * find it by this name.
 */
export const StripeCustomer: StripeCustomerModel = mongoose.model<MirroredCustomer, StripeCustomerModel>(
  modelName,
  customerSchema,
);

/**
 * The model of a mirror with another name than `stripe_customers`, or on another connection. It takes the
 * name `StripeCustomer` on that connection, so that `populate` finds it; the exported model stays as it is.
 * @param collection the daemon's setting `mongodb.collections.customers`
 */
export function customerModel(
  collection: string,
  connection: mongoose.Connection = mongoose.connection,
): StripeCustomerModel {
  const before = connection.models[modelName] as StripeCustomerModel | undefined; // whatever has the name
  if (before?.schema === customerSchema && before.collection.collectionName === collection) return before;
  if (before) connection.deleteModel(modelName);
  return connection.model<MirroredCustomer, StripeCustomerModel>(modelName, customerSchema, collection);
}
