// What neither prettier nor eslint holds of src: comments wrap at 110 columns, and no file is a fragment of another.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const maxColumns = 110;
const minLines = 25;
/** Entry points, declarations of which each is one file by design, and the reader of package.json, which belongs to no other file. */
const maybeShort = /^src\/(main|index|base\/version)\.ts$|^src\/resources\//;

const faults = readdirSync('src', { recursive: true })
  .map((name) => join('src', String(name)))
  .filter((name) => name.endsWith('.ts'))
  .flatMap((name) => {
    const lines = readFileSync(name, 'utf8').trimEnd().split('\n');
    const wide = lines.flatMap((line, index) =>
      /^\s*(\/\/|\/?\*)/.test(line) && line.length > maxColumns
        ? [`${name}:${index + 1} is a comment of ${line.length} columns: wrap it at ${maxColumns}`]
        : [],
    );
    const isShort = lines.length < minLines && !maybeShort.test(name);
    return isShort ? [...wide, `${name} has ${lines.length} lines: move it to where it is used`] : wide;
  });

for (const fault of faults) console.error(fault);
process.exitCode = faults.length === 0 ? 0 : 1;
