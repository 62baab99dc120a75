// The chart's Prometheus rules as they are in its files.
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

export interface RecordingRule {
  readonly record: string;
  readonly expr: string;
}

export interface AlertRule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

interface RuleFile<R> {
  readonly groups: readonly { readonly name: string; readonly rules: readonly R[] }[];
}

function rulesOf<R>(name: string): R[] {
  const file = new URL(`../../helm/stripe-mongo-sync/rules/${name}.yaml`, import.meta.url);
  const { groups } = parse(readFileSync(file, 'utf8')) as RuleFile<R>; // promtool checks the form
  return groups.flatMap(({ rules }) => rules);
}

export const recordingRules = (): RecordingRule[] => rulesOf<RecordingRule>('recording');
export const alertRules = (): AlertRule[] => rulesOf<AlertRule>('alerts');
