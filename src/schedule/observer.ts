// What becomes of the slots of a schedule, for those who measure it.

/**
 * `inserted` in time, `caught_up` late, `skipped` as the last scan was still at work: each once over all replicas, by the one that won
 * the slot. `lost`: another replica won it.
 */
export type SlotOutcome = 'inserted' | 'caught_up' | 'skipped' | 'lost';

export interface ScheduleObserver {
  slotDecided(event: { readonly schedule: string; readonly outcome: SlotOutcome }): void;
}
