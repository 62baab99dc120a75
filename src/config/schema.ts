// Type and limits of every setting. Defaults are in config/default.yaml and nowhere else.
import { z } from 'zod';

/** Longest configurable lease (requests.leaseMs): no daemon has written a longer one. */
export const maxLeaseMs = 300_000;

/** Metadata of a setting for loading and for the docs. */
export interface SettingTraits {
  /** How a string (from the environment, or quoted in YAML) is read. */
  readonly kind: 'text' | 'number' | 'flag';
  /** The allowed values, worded to follow "must be". */
  readonly allowed: string;
  /** Whether `''` is a valid value. If not, an empty value is a fault. */
  readonly mayBeEmpty: boolean;
  /** Never printed, and also read from the file named by `…_FILE`. */
  readonly secret: boolean;
  /** What to do if the setting is required and missing. */
  readonly whenMissing?: string;
}

export const settingTraits = z.registry<SettingTraits>();

const plain = { mayBeEmpty: false, secret: false } as const;

const wholeNumber = (min: number, max: number) =>
  z
    .number()
    .int()
    .min(min)
    .max(max)
    .register(settingTraits, { ...plain, kind: 'number', allowed: `a whole number from ${min} to ${max}` });

const decimal = (min: number, max: number) =>
  z
    .number()
    .min(min)
    .max(max)
    .register(settingTraits, { ...plain, kind: 'number', allowed: `a number from ${min} to ${max}` });

const autoOr = (number: ReturnType<typeof decimal>) =>
  z.union([z.literal('auto'), number]).register(settingTraits, {
    ...plain,
    kind: 'number',
    allowed: `${settingTraits.get(number)?.allowed ?? 'a number'} or auto`,
  });

const flag = () => z.boolean().register(settingTraits, { ...plain, kind: 'flag', allowed: 'true or false' });

const choice = <const T extends readonly string[]>(values: T) =>
  z.enum(values).register(settingTraits, { ...plain, kind: 'text', allowed: `one of ${values.join(', ')}` });

const text = (allowed: string, isValid: (value: string) => boolean) =>
  z
    .string()
    .refine(isValid)
    .register(settingTraits, { ...plain, kind: 'text', allowed });

const textOrEmpty = (allowed: string, isValid: (value: string) => boolean) =>
  z
    .string()
    .refine((value) => value === '' || isValid(value))
    .register(settingTraits, {
      kind: 'text',
      allowed: `${allowed}, or empty`,
      mayBeEmpty: true,
      secret: false,
    });

/** May be empty here: `requires` of loadConfig says which commands need it. */
const secret = (allowed: string, pattern: RegExp, whenMissing: string) =>
  z
    .string()
    .refine((value) => value === '' || pattern.test(value))
    .register(settingTraits, { kind: 'text', allowed, mayBeEmpty: true, secret: true, whenMissing });

/** Most bytes of a name: MongoDB allows 255 for the database, a dot, the collection and `_live`. */
const maxCollectionBytes = 120;

/** https://www.mongodb.com/docs/manual/reference/limits/#mongodb-limit-Restriction-on-Collection-Names */
const isCollectionName = (value: string): boolean =>
  value !== '' &&
  Buffer.byteLength(value) <= maxCollectionBytes &&
  !/[$\0\s]|^system\.|^\.|\.$|\.\./.test(value);

const collectionName = () =>
  text(
    `a collection name that MongoDB takes: 1 to ${maxCollectionBytes} bytes without $ or white space, and not of system.*`,
    isCollectionName,
  );

/** HTTP or HTTPS without credentials, path or query: the Stripe client takes only scheme, host and port. */
function isApiBase(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const url = new URL(value);
  const isBare = url.username === '' && url.password === '' && url.search === '' && url.hash === '';
  return /^https?:$/.test(url.protocol) && url.hostname !== '' && url.pathname === '/' && isBare;
}

function isTimezone(value: string): boolean {
  try {
    return value !== '' && new Intl.DateTimeFormat('en', { timeZone: value }).format(0) !== '';
  } catch {
    return false;
  }
}

export const configSchema = z.strictObject({
  stripe: z.strictObject({
    apiKey: secret(
      'a key that starts with sk_test_, sk_live_, rk_test_ or rk_live_',
      /^(sk|rk)_(test|live)_[A-Za-z0-9_]+$/,
      "create a restricted key with read access to Customers in Stripe's dashboard",
    ),
    apiBase: text('a URL without a path, such as https://api.stripe.com', isApiBase),
    apiVersion: text('a Stripe API version such as 2026-10-28.endive', (value) =>
      /^\d{4}-\d{2}-\d{2}(\.[a-z]+)?$/.test(value),
    ),
    accountId: textOrEmpty('an account id such as acct_123', (value) => /^acct_[A-Za-z0-9]+$/.test(value)),
    callsPerSecond: autoOr(decimal(0, 1_000)),
    callsPerSecondPerEndpoint: autoOr(decimal(0, 1_000)),
    maxInFlight: autoOr(wholeNumber(1, 256)),
    monthlyReadAllowance: wholeNumber(0, 1_000_000_000),
    attemptTimeoutMs: wholeNumber(100, 300_000),
    callDeadlineMs: wholeNumber(100, 3_600_000),
  }),
  mongodb: z.strictObject({
    uri: secret(
      'a connection string that starts with mongodb:// or mongodb+srv://',
      /^mongodb(\+srv)?:\/\/\S+$/,
      'npm run demo, in a checkout, shows everything without a MongoDB of your own',
    ),
    database: textOrEmpty('a MongoDB database name', (value) => /^[^/\\. "$*<>:|?]{1,63}$/.test(value)),
    connectDeadlineMs: wholeNumber(1_000, 3_600_000),
    autoMigrate: flag(),
    collections: z.strictObject({
      customers: collectionName(),
      requests: collectionName(),
      state: collectionName(),
    }),
  }),
  syncAll: z.strictObject({
    schedule: textOrEmpty('a cron expression of five or six fields, such as 0 3 * * *', () => true),
    timezone: text('an IANA time zone such as Europe/Berlin', isTimezone),
  }),
  sync: z.strictObject({ testClocks: flag() }),
  schedule: z.strictObject({ catchUp: flag() }),
  requests: z.strictObject({
    concurrency: wholeNumber(1, 1_000),
    pollIntervalMs: wholeNumber(50, 60_000),
    changeStream: flag(),
    leaseMs: wholeNumber(500, maxLeaseMs),
    maxAttempts: wholeNumber(1, 100),
    retryBaseMs: wholeNumber(1, 3_600_000),
    retryMaxMs: wholeNumber(1, 86_400_000),
    validation: choice(['error', 'warn', 'off']),
    keepSucceededSeconds: wholeNumber(1, 315_360_000),
    keepCronSucceededSeconds: wholeNumber(1, 315_360_000),
    keepFailedSeconds: wholeNumber(1, 315_360_000),
  }),
  removals: z.strictObject({
    maxRatio: decimal(0, 1),
    maxCount: wholeNumber(0, 1_000_000_000),
  }),
  http: z.strictObject({
    host: text('an address or host name to listen on', (value) => /^[^\s/]+$/.test(value)),
    port: wholeNumber(0, 65_535),
  }),
  log: z.strictObject({
    level: choice(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    format: choice(['auto', 'json', 'pretty']),
  }),
  shutdown: z.strictObject({ timeoutMs: wholeNumber(100, 600_000) }),
});

/** The effective configuration, validated. */
export type Config = z.infer<typeof configSchema>;

type PathsOf<C> = {
  [S in keyof C & string]: C[S] extends object ? `${S}.${PathsOf<C[S]>}` : S;
}[keyof C & string];

/** Path of a setting: `stripe.callsPerSecond`. */
export type SettingPath = PathsOf<Config>;

/** Settings that are never printed. */
export type SecretPath = 'stripe.apiKey' | 'mongodb.uri';
