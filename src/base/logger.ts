// The log: JSON lines, or readable ones on a terminal. A second net below the rule that nothing personal or secret is handed to it:
// errors are reduced to what may be told, fields with telling names are censored, and so is what looks like a key or an address.
import { isatty } from 'node:tty';
import { type LogFn, type Logger, pino } from 'pino';
import { prettyFactory } from 'pino-pretty';
import { type ErrorReport, isFault, reportError } from './errors.js';
import { serviceName, serviceVersion } from './version.js';

export type { Logger } from 'pino';

/** What a log is set up with. */
export interface LogSettings {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
  /** `auto`: readable lines on a terminal, JSON lines elsewhere. */
  readonly format: 'auto' | 'json' | 'pretty';
}

/** Where lines go: a daemon's to stdout, a command's to stderr (its stdout is its result). */
export type LogOutput = 'stdout' | 'stderr' | { write(line: string): void };

/** Creates the logger of a process. Lines are written synchronously: the last one before an exit is not lost. */
export function createLogger(settings: LogSettings, output: LogOutput = 'stdout'): Logger {
  const logger = pino(
    {
      level: settings.level,
      base: { service: serviceName, version: serviceVersion, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      // pino's own would make an error of the report that stands there by then.
      serializers: { err: (report: unknown) => report },
      hooks: { logMethod: logSafely, streamWrite: censorText },
    },
    destinationOf(settings.format, output),
  );
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called below with the logger it is called on
  const { child } = logger;
  // pino hands bindings of children to no formatter; children inherit this one.
  logger.child = function safeChild(this: Logger, bindings, options) {
    return child.call(this, safeFields(bindings), options);
  } as typeof child;
  return logger;
}

function destinationOf(format: LogSettings['format'], output: LogOutput): { write(line: string): void } {
  const descriptor = output === 'stdout' ? 1 : output === 'stderr' ? 2 : undefined;
  const sink = typeof output === 'object' ? output : pino.destination({ dest: descriptor ?? 1, sync: true });
  const isTerminal = descriptor !== undefined && isatty(descriptor);
  if (format === 'json' || (format === 'auto' && !isTerminal)) return sink;
  const stream = descriptor === 2 ? process.stderr : process.stdout;
  const pretty = prettyFactory({
    colorize: isTerminal && stream.hasColors(),
    ignore: 'pid,service,version',
    translateTime: 'SYS:HH:MM:ss.l',
    singleLine: true,
  });
  return { write: (line) => sink.write(pretty(line)) };
}

const censored = '[redacted]';

/** Names of fields that hold persons' data or secrets, in lower case without separators. */
const tellingNames = new Set(
  [
    [
      'email',
      'name',
      'phone',
      'address',
      'shipping',
      'billingdetails',
      'individualname',
      'businessname',
      'batch',
      'metadata',
    ],
    [
      'apikey',
      'authorization',
      'headers',
      'rawheaders',
      'password',
      'secret',
      'credentials',
      'cookie',
      'raw',
    ],
  ].flat(),
);

const isTelling = (field: string): boolean => tellingNames.has(field.replace(/[_-]/g, '').toLowerCase());

/** Keys of Stripe, credentials in a connection string, addresses of e-mail; anywhere in a line. */
function censorText(line: string): string {
  return line
    .replace(/\b(sk|rk|pk|whsec)_(test_|live_)?[A-Za-z0-9_]{8,}/g, `$1_${censored}`)
    .replace(/\b(mongodb(?:\+srv)?:\/\/)[^\s"]*@/g, `$1${censored}@`)
    .replace(/[\w.+-]+@[\w-]+(\.[\w-]+)+/g, censored);
}

function logSafely(this: Logger, args: Parameters<LogFn>, method: LogFn): void {
  const [first, ...rest]: unknown[] = args;
  const safeRest = rest.map((value) => safeValue(value, 0));
  if (first instanceof Error) {
    // Without this pino would take the error's own message, which may quote a document.
    const err = errorFields(first);
    Reflect.apply(method, this, [{ err }, ...(safeRest.length > 0 ? safeRest : [err.message])]);
  } else if (typeof first === 'object' && first !== null) {
    Reflect.apply(method, this, [safeFields(first), ...safeRest]);
  } else {
    Reflect.apply(method, this, [first, ...safeRest]);
  }
}

/** What is logged of an error: its report, the system's code, and for one nobody expected the lines of the stack, without its message. */
function errorFields(error: Error): ErrorReport & { systemCode?: string | number; stack?: string[] } {
  const cause = isFault(error) && error.cause instanceof Error ? error.cause : error;
  const code = 'code' in cause && !isFault(cause) ? cause.code : undefined;
  const isCode =
    typeof code === 'number' || (typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(code));
  const isExpected = isFault(error) && error.code !== 'internal';
  return {
    ...reportError(error),
    ...(isCode && { systemCode: code }),
    ...(!isExpected && { stack: stackLines(cause) }),
  };
}

function stackLines(error: Error): string[] {
  const stack = typeof error.stack === 'string' ? error.stack : '';
  const start = stack.indexOf(error.message);
  if (start < 0) return [];
  return stack
    .slice(start + error.message.length)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => /^at .*(:\d+:\d+|<anonymous>|native)\)?$/.test(line))
    .slice(0, 12);
}

const deepest = 6;

function safeFields(fields: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([field, value]: [string, unknown]) => [
      field,
      isTelling(field) && value !== undefined ? censored : safeValue(value, 1),
    ]),
  );
}

function safeValue(value: unknown, depth: number): unknown {
  if (value instanceof Error) return errorFields(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return value;
  if (depth > deepest) return '[deeper]';
  if (ArrayBuffer.isView(value)) return '[binary]';
  if ('toJSON' in value && typeof value.toJSON === 'function') {
    const plain: unknown = Reflect.apply(value.toJSON, value, []);
    return plain === value ? censored : safeValue(plain, depth + 1);
  }
  if (Array.isArray(value)) return value.slice(0, 100).map((entry) => safeValue(entry, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([field, entry]: [string, unknown]) => [
      field,
      isTelling(field) && entry !== undefined ? censored : safeValue(entry, depth + 1),
    ]),
  );
}
