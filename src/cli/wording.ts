// How numbers and times read in what commands print.

const formatted = new Intl.NumberFormat('en');

/** `12,300` */
export const count = (value: number): string => formatted.format(value);

/** `1 request`, `12 requests` */
export const counted = (value: number, noun: string): string =>
  `${count(value)} ${noun}${value === 1 ? '' : 's'}`;

/** `0.42 s`, `4.2 s`, `4 s`, `42 s`, `3 min 20 s`, `2 h 5 min` */
export function duration(seconds: number): string {
  if (Number.isInteger(seconds) && seconds < 60) return `${seconds} s`;
  if (seconds < 1) return `${seconds.toFixed(2)} s`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${count(Math.floor(whole / 3_600))} h ${Math.floor((whole % 3_600) / 60)} min`;
}

/** As `duration`, for a column: `0.4s`, `42s`, `3m20s`, `2h5m`, `4d3h`. */
export function shortDuration(seconds: number): string {
  const whole = Math.round(seconds);
  if (seconds < 0) return '0s';
  if (seconds < 9.95) return `${Number(seconds.toFixed(1))}s`;
  const pair = (large: string, by: number, small: string, per: number): string => {
    const rest = Math.floor((whole % by) / per);
    return `${Math.floor(whole / by)}${large}${rest > 0 ? `${rest}${small}` : ''}`;
  };
  if (whole < 60) return `${whole}s`;
  if (whole < 3_600) return pair('m', 60, 's', 1);
  if (whole < 86_400) return pair('h', 3_600, 'm', 60);
  return pair('d', 86_400, 'h', 3_600);
}

/** `2026-01-31 12:00:00Z` */
export const timeText = (time: Date): string => time.toISOString().replace('T', ' ').replace(/\.\d+/, '');
