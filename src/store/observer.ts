// What writing to the mirror tells those who measure it.
export interface MirrorObserver {
  /** One bulk write to the mirror was acknowledged, after this many seconds. */
  writeFinished(seconds: number): void;
}
