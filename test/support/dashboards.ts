// The dashboards of the chart as they are in its files.
import { readdirSync, readFileSync } from 'node:fs';

const folder = new URL('../../helm/stripe-mongo-sync/dashboards/', import.meta.url);

export interface Target {
  readonly refId: string;
  readonly expr: string;
  readonly legendFormat?: string;
  /** Asked for one moment, the end of the time shown; otherwise over that time. */
  readonly instant?: boolean;
}

export interface Step {
  readonly value: number | null;
  readonly color: string;
}

export interface FieldDefaults {
  readonly unit?: string;
  readonly decimals?: number;
  readonly noValue?: string;
  readonly min?: number;
  readonly max?: number;
  readonly thresholds?: { readonly steps: readonly Step[] };
  readonly custom?: { readonly fillOpacity?: number; readonly stacking?: { readonly mode?: string } };
}

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  /** Of a row: the variable of which each value has a row of its own. */
  readonly repeat?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly Target[];
  readonly fieldConfig?: {
    readonly defaults: FieldDefaults;
    readonly overrides: readonly {
      readonly matcher: { readonly id: string; readonly options: string };
      readonly properties: readonly { readonly id: string; readonly value: unknown }[];
    }[];
  };
  readonly transformations?: readonly { readonly id: string; readonly options: Record<string, unknown> }[];
}

export interface DashboardFile {
  readonly name: string;
  readonly title: string;
  readonly uid: string;
  readonly panels: readonly Panel[];
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly type: string; readonly query: unknown }[];
  };
}

/** As `npm run docs` has written them. */
export function dashboardFiles(): DashboardFile[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => ({
      ...(JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Omit<DashboardFile, 'name'>), // of our own making
      name: name.replace(/\.json$/, ''),
    }));
}
