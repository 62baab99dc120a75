// Where a batch stands among all insertions of requests. It orders batches, as customers carry no version.
// Times alone do not: several insertions share a millisecond.

/** The change event of an insertion, as MongoDB tells it. */
export interface Insertion {
  /** The event's resume token as hexadecimal text: tokens sort in the order of the insertions. */
  readonly token: string;
  /** By MongoDB's clock, in milliseconds. */
  readonly at: Date;
}

export type InsertionOrder =
  | { readonly kind: 'known'; readonly insertion: Insertion }
  /** No event tells it: it was inserted at some time from `from` to `to`, both included. */
  | { readonly kind: 'within'; readonly from: Date; readonly to: Date };

/** The earliest time at which it may have been inserted. */
export function earliestOf(order: InsertionOrder): Date {
  switch (order.kind) {
    case 'known':
      return order.insertion.at;
    case 'within':
      return order.from;
  }
}
