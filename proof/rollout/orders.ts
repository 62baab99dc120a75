// The orders in which versions follow each other.

type Version = 'old' | 'new';
/** Absolute paths of the compiled main.js. */
export type Builds = Readonly<Record<Version, string>>;

export interface Order {
  readonly name: string;
  /** The replicas that work at the same time, in the order of their starts; one phase after the other. */
  readonly phases: readonly (readonly Version[])[];
}

export const orders: readonly Order[] = [
  {
    name: 'a rollout: old, old and new, new',
    phases: [
      ['old', 'old'],
      ['old', 'new'],
      ['new', 'new'],
    ],
  },
  {
    name: 'a rollout that the new one begins: new and old, new',
    phases: [
      ['new', 'old'],
      ['new', 'new'],
    ],
  },
  {
    name: 'a rollback and another try: old, new, old, new and old, new',
    phases: [['old'], ['new'], ['old'], ['new', 'old'], ['new']],
  },
];
