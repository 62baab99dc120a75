// The log: JSON lines, or readable ones on a terminal. Callers must pass nothing personal or secret. As a
// second safeguard errors are reduced to a report, and sensitive fields, keys and e-mail addresses are
// redacted.
import { isatty } from 'node:tty';
import { type LogFn, type Logger, pino } from 'pino';
import { prettyFactory } from 'pino-pretty';
import { type ErrorReport, isFault, reportError } from './errors.js';
import { serviceName, serviceVersion } from './version.js';

export type { Logger } from 'pino';

/** The settings of a log. */
export interface LogSettings {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
  /** `auto`: readable lines on a terminal, JSON lines elsewhere. */
  readonly format: 'auto' | 'json' | 'pretty';
}

/** A daemon logs to stdout, a command to stderr, as its stdout is its result. */
export type LogOutput = 'stdout' | 'stderr' | { write(line: string): void };

/**
 * Creates the logger of a process. Lines are written synchronously, so the last one before an exit is not
 * lost.
 */
export function createLogger(settings: LogSettings, output: LogOutput = 'stdout'): Logger {
  const logger = pino(
    {
      level: settings.level,
      base: { service: serviceName, version: serviceVersion, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      // The error is already a report here; pino's own serializer would treat the report as an error.
      serializers: { err: (report: unknown) => report },
      hooks: { logMethod: logSafely, streamWrite: redactText },
    },
    destinationOf(settings.format, output),
  );
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called below on its logger
  const { child } = logger;
  // pino passes bindings of children to no formatter; children inherit this method.
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

const redacted = '[redacted]';

/** Names of fields with personal data or secrets, in lower case without separators. */
const sensitiveNames = new Set(
  (
    'email name phone address shipping billingdetails individualname businessname batch metadata ' +
    'apikey authorization headers rawheaders password secret credentials cookie raw'
  ).split(' '),
);

const isSensitive = (field: string): boolean => sensitiveNames.has(field.replace(/[_-]/g, '').toLowerCase());

/** Redacts Stripe keys, credentials in connection strings and e-mail addresses, anywhere in a line. */
function redactText(line: string): string {
  return line
    .replace(/\b(sk|rk|pk|whsec)_(test_|live_)?[A-Za-z0-9_]{8,}/g, `$1_${redacted}`)
    .replace(/\b(mongodb(?:\+srv)?:\/\/)[^\s"]*@/g, `$1${redacted}@`)
    .replace(/[\w.+-]+@[\w-]+(\.[\w-]+)+/g, redacted);
}

function logSafely(this: Logger, args: Parameters<LogFn>, method: LogFn): void {
  const [first, ...rest]: unknown[] = args;
  const safeRest = rest.map((value) => safeValue(value, 0));
  if (first instanceof Error) {
    // Otherwise pino would log the error's own message, which may quote a document.
    const err = errorFields(first);
    Reflect.apply(method, this, [{ err }, ...(safeRest.length > 0 ? safeRest : [err.message])]);
  } else if (typeof first === 'object' && first !== null) {
    Reflect.apply(method, this, [safeFields(first), ...safeRest]);
  } else {
    Reflect.apply(method, this, [first, ...safeRest]);
  }
}

/**
 * The part of an error that is logged: its report and system code. An unexpected error adds its stack without
 * the message.
 */
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

const maxDepth = 6;

function safeFields(fields: object, depth = 1): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([field, value]: [string, unknown]) => [
      field,
      isSensitive(field) && value !== undefined ? redacted : safeValue(value, depth),
    ]),
  );
}

function safeValue(value: unknown, depth: number): unknown {
  if (value instanceof Error) return errorFields(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return value;
  if (depth > maxDepth) return '[deeper]';
  if (ArrayBuffer.isView(value)) return '[binary]';
  if ('toJSON' in value && typeof value.toJSON === 'function') {
    const plain: unknown = Reflect.apply(value.toJSON, value, []);
    return plain === value ? redacted : safeValue(plain, depth + 1);
  }
  if (Array.isArray(value)) return value.slice(0, 100).map((entry) => safeValue(entry, depth + 1));
  return safeFields(value, depth + 1);
}
