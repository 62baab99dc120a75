// Makes JSON Schemas for kubeconform out of CustomResourceDefinitions: closed, as `kubectl apply` with strict validation sees them.
// Usage: node crd-schemas.mjs FOLDER-OF-CRDS FOLDER-FOR-SCHEMAS
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

const [from, to] = process.argv.slice(2);
mkdirSync(to, { recursive: true });
for (const file of readdirSync(from).filter((name) => name.endsWith('.yaml'))) {
  const { kind, spec } = parse(readFileSync(join(from, file), 'utf8'), { maxAliasCount: -1 });
  if (kind !== 'CustomResourceDefinition') continue;
  for (const { name, schema } of spec.versions) {
    const closed = closedSchema(schema.openAPIV3Schema);
    closed.properties.metadata = { type: 'object' };
    const target = `${spec.names.kind.toLowerCase()}_${name}.json`;
    writeFileSync(join(to, target), JSON.stringify(closed));
  }
}

/** Every object with properties allows those alone, unless the CRD says otherwise; a quantity or port may be a number or a string. */
function closedSchema(schema) {
  if (Array.isArray(schema)) return schema.map(closedSchema);
  if (typeof schema !== 'object' || schema === null) return schema;
  const { properties, ...rest } = schema;
  const closed = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, closedSchema(value)]));
  if (rest['x-kubernetes-int-or-string']) return { oneOf: [{ type: 'string' }, { type: 'integer' }] };
  if (!properties) return closed;
  closed.properties = Object.fromEntries(
    Object.entries(properties).map(([key, value]) => [key, closedSchema(value)]),
  );
  if (!rest['x-kubernetes-preserve-unknown-fields']) closed.additionalProperties ??= false;
  return closed;
}
