// Comments of YAML documents, which say what a setting or a value means.
import { isScalar, type Pair, type YAMLMap } from 'yaml';

/** The comment above an entry. The parser gives that above the first one to the mapping itself. */
export function commentAbove(section: YAMLMap, pair: Pair): string | null | undefined {
  const own = isScalar(pair.key) ? pair.key.commentBefore : undefined;
  return own ?? (section.items[0] === pair ? section.commentBefore : undefined);
}
