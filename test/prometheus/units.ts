// Numbers as Grafana writes them in the units that the dashboards use.

interface Scale {
  /** What one of it is, in the unit; also the size from which it is taken. */
  readonly size: number;
  readonly suffix: string;
}

const thousands = (suffix: string): readonly Scale[] => [
  { size: 1e9, suffix: ` Bil${suffix}` },
  { size: 1e6, suffix: ` Mil${suffix}` },
  { size: 1e3, suffix: ` K${suffix}` },
  { size: 1, suffix },
];

/** Largest first. */
const scales: Readonly<Record<string, readonly Scale[]>> = {
  s: [
    { size: 604_800, suffix: ' weeks' },
    { size: 86_400, suffix: ' days' },
    { size: 3_600, suffix: ' hours' },
    { size: 60, suffix: ' mins' },
    { size: 1, suffix: ' s' },
    { size: 0.001, suffix: ' ms' },
    { size: 0.000_001, suffix: ' µs' },
  ],
  bytes: [
    { size: 2 ** 30, suffix: ' GiB' },
    { size: 2 ** 20, suffix: ' MiB' },
    { size: 2 ** 10, suffix: ' KiB' },
    { size: 1, suffix: ' B' },
  ],
  short: thousands(''),
  reqps: thousands(' req/s'),
  ops: thousands(' ops/s'),
  percentunit: [{ size: 0.01, suffix: '%' }],
};

/** The value in its unit; three digits where the panel does not say how many decimals. Throws for a unit that is not known here. */
export function formatted(value: number, unit: string, decimals?: number): string {
  if (unit === 'bool_yes_no') return value === 0 ? 'No' : 'Yes';
  if (unit === 'locale') return Math.round(value).toLocaleString('en-US');
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'NaN' : '∞';
  const { size, suffix } = scaleOf(value, unit);
  return (value / size).toFixed(decimals ?? decimalsOf(value / size)) + suffix;
}

/** A round number at an axis, without decimals that say nothing. */
export function formattedTick(value: number, unit: string): string {
  const { size, suffix } = scaleOf(value, unit);
  return Number((value / size).toPrecision(6)).toString() + suffix;
}

function scaleOf(value: number, unit: string): Scale {
  const known = scales[unit];
  const least = known?.find(({ size }) => size <= 1);
  if (!known || !least) throw new Error(`The unit ${unit} is not drawn here`);
  return value === 0 ? least : (known.find(({ size }) => Math.abs(value) >= size) ?? known.at(-1) ?? least);
}

const decimalsOf = (value: number): number =>
  Number.isInteger(value) ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));

/** Steps between the marks of an axis that people can count in. */
export function niceStep(atLeast: number, unit: string): number {
  if (unit === 'bytes') return 2 ** Math.ceil(Math.log2(atLeast));
  const power = 10 ** Math.floor(Math.log10(atLeast));
  const factor = [1, 2, 2.5, 5, 10].find((each) => each * power >= atLeast * 0.999) ?? 10;
  return factor * power;
}
