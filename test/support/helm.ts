// Renders the Helm chart with the real helm: that on PATH, or that which .ci/helm-tools has built.
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { runCommand } from './run-command.js';

const chartFolder = fileURLToPath(new URL('../../helm/stripe-mongo-sync/', import.meta.url));

const { env } = process;
const toolsFolder = join(
  env['XDG_CACHE_HOME'] || join(env['HOME'] || homedir(), '.cache'),
  'stripe-mongo-sync',
  'helm-tools',
);

/** Where helm is, or undefined: then there is nothing to test with, until `.ci/helm-tools` has been run. */
export const helm: string | undefined = [toolsFolder, ...(env['PATH'] ?? '').split(delimiter)]
  .map((folder) => join(folder, 'helm'))
  .find((file) => existsSync(file));

export interface Manifest {
  kind: string;
  metadata: { name: string; annotations?: Record<string, string> };
  [field: string]: unknown;
}

/** One of the chart's shapes, `ci/NAME-values.yaml`. */
export const shape = async (name: string): Promise<Record<string, unknown>> =>
  parse(await readFile(join(chartFolder, 'ci', `${name}-values.yaml`), 'utf8')) as Record<string, unknown>;

/** What `helm template` makes of these values. Throws with what helm says when it refuses them. */
export async function render(values: Record<string, unknown>, release = 'release'): Promise<Manifest[]> {
  const folder = await mkdtemp(join(tmpdir(), 'helm-values-'));
  try {
    const file = join(folder, 'values.yaml');
    await writeFile(file, stringify(values));
    const args = ['template', release, chartFolder, '--kube-version', '1.37.0', '--values', file];
    const manifests = await runCommand(helm ?? 'helm', args, { timeoutMs: 60_000 });
    return parseAllDocuments(manifests).flatMap((document) => {
      const manifest = document.toJS() as Manifest | null; // helm parses it as YAML, too
      return manifest ? [manifest] : [];
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The one manifest of this kind that is no part of `helm test`. */
export function manifestOf(manifests: readonly Manifest[], kind: string): Manifest {
  const [found, ...others] = manifests.filter(
    (manifest) => manifest.kind === kind && !manifest.metadata.annotations?.['helm.sh/hook'],
  );
  if (!found || others.length > 0)
    throw new Error(`Expected one ${kind}, found ${found ? others.length + 1 : 0}`);
  return found;
}
