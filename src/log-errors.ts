const FRAMES = /\n {4}at [^]*/;
const MAX_DEPTH = 3;
const MAX_MESSAGE = 300;
const MAX_VALUE = 100;

type LoggedError = { type: string; message: string; stack: string; [field: string]: unknown };

/**
 * How the log shows an error: its type, message, code, statement and stack, and the same of its causes. No other property is
 * shown. An error of a database driver may quote what a statement was given, in its message and so in its stack: of such
 * an error the log has the type, the code and the frames (ASVS 16.2.5).
 */
export function describeError(error: unknown, depth = 1): LoggedError {
  if (!(error instanceof Error)) return { type: typeof error, message: '', stack: '' };
  const { code, statement, cause } = error as Error & { code?: unknown; statement?: unknown };
  return {
    type: error.constructor.name,
    ...(quotesValues(error) ? { message: '', stack: FRAMES.exec(error.stack ?? '')?.[0].trimStart() ?? '' } : shorten(error)),
    ...(code !== undefined && { code }),
    ...(statement !== undefined && { statement }),
    ...(cause !== undefined && depth < MAX_DEPTH && { cause: describeError(cause, depth + 1) }),
  };
}

/** A value that a client chose, such as its origin: no client makes a line long. */
export function cut(value: string | undefined): string | undefined {
  return value !== undefined && value.length > MAX_VALUE ? `${value.slice(0, MAX_VALUE)}…` : value;
}

/** The message of an error may quote the client, and the stack quotes the message. */
function shorten({ message, stack = '' }: Error): { message: string; stack: string } {
  if (message.length <= MAX_MESSAGE) return { message, stack };
  const short = `${message.slice(0, MAX_MESSAGE)}…`;
  return { message: short, stack: stack.replace(message, () => short) };
}

/** Drizzle's error has the parameters, and PostgreSQL's a severity beside its SQLSTATE. */
function quotesValues(error: Error): boolean {
  return 'params' in error || 'severity' in error || /\bparams: /.test(error.message);
}
