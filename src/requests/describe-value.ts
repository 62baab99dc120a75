// Shows a value of a request in a fault: enough to find it, never a person's data or a secret. Users may put anything anywhere.

const longest = 48;
/** Beside what ids, commands and words of a setting consist of; addresses and sentences have one. */
const oddCharacter = /[^A-Za-z0-9_.:/-]/u;
/** Keys of Stripe, whole or in part. */
const secretLooking = /(^|[^A-Za-z0-9])(sk|rk|pk|whsec)_/;

/** 'a list of 3', '"cus_1"', 'a string of 16 characters with "@"'. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null || typeof value === 'boolean' || typeof value === 'number') return String(value);
  if (typeof value === 'string') return describeString(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'an invalid date' : value.toISOString();
  return describeType(value);
}

/** As `describeValue`, but the type alone: for what is inside a customer. */
export function describeType(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (value instanceof Date) return 'a date';
  if (typeof value === 'object') {
    const bsonType =
      '_bsontype' in value && typeof value._bsontype === 'string' ? value._bsontype : undefined;
    return bsonType !== undefined && /^[A-Za-z0-9]{1,20}$/.test(bsonType)
      ? `a value of type ${bsonType}`
      : 'an object';
  }
  return `a ${typeof value}`;
}

function describeString(value: string): string {
  if (secretLooking.test(value)) return `a string of ${value.length} characters`;
  const odd = oddCharacter.exec(value)?.[0];
  if (odd !== undefined) return `a string of ${value.length} characters with ${JSON.stringify(odd)}`;
  if (value.length <= longest) return JSON.stringify(value);
  return `${JSON.stringify(`${value.slice(0, longest)}…`)} (${value.length} characters)`;
}
