// Name and version of this package, from its own package.json.
import { readFileSync } from 'node:fs';
import { z } from 'zod';

const manifest = z
  .object({ name: z.string(), version: z.string() })
  .parse(JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')));

export const serviceName = manifest.name;
export const serviceVersion = manifest.version;
