// An import statement would load all that node:http offers, with a WebSocket client: 25 ms of each start
const { STATUS_CODES } = process.getBuiltinModule('node:http');

/** The reason phrase of a status (RFC 9110 §15). */
export function titleOf(status: number): string {
  return STATUS_CODES[status] ?? '';
}

/** One failed rule of a request; `pointer` is a JSON Pointer (RFC 6901) into the body or the query. */
export type FieldError = { pointer: string; detail: string };

/** An error that the API answers, as problem details (RFC 9457). Thrown by routes, written in one place. */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: Record<string, string>;
  readonly errors: FieldError[] | undefined;

  constructor(status: number, code: string, detail: string, extra: { headers?: Record<string, string>; errors?: FieldError[] } = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.headers = extra.headers ?? {};
    this.errors = extra.errors;
  }

  /** The problem details document (RFC 9457 §3). */
  toDocument(requestId: string) {
    return {
      type: `urn:keyturn:problem:${this.code}`, title: titleOf(this.status), status: this.status, detail: this.message, code: this.code,
      request_id: requestId, ...(this.errors && { errors: this.errors }),
    };
  }
}

const challenge = { headers: { 'www-authenticate': 'Bearer' } };
const invalidToken = { headers: { 'www-authenticate': 'Bearer error="invalid_token"' } };

/** Every error the API can answer. */
export const problems = {
  malformedBody: () => new Problem(400, 'malformed_body', 'The body is not well-formed JSON in UTF-8'),
  linkInvalid: () => new Problem(400, 'link_invalid', 'The link is not valid: it was used, has expired, or the account was changed since'),
  badRequest: () => new Problem(400, 'bad_request', 'The request is not well-formed'),
  invalidCredentials: () => new Problem(401, 'invalid_credentials', 'Invalid credentials', challenge),
  accessTokenMissing: () => new Problem(401, 'access_token_missing', 'An access token is needed: Authorization: Bearer <access token>', challenge),
  accessTokenInvalid: () => new Problem(401, 'access_token_invalid', 'The access token is invalid or expired, or its session has ended', invalidToken),
  refreshTokenMissing: () => new Problem(401, 'refresh_token_missing', 'A refresh token is needed: the cookie, or refresh_token in the body, or Authorization: Bearer <refresh token>', challenge),
  tokenMissing: () => new Problem(401, 'token_missing', 'A refresh token or an access token is needed: the cookie, or refresh_token in the body, or Authorization: Bearer <token>', challenge),
  refreshTokenInvalid: () => new Problem(401, 'refresh_token_invalid', 'The refresh token is invalid', invalidToken),
  refreshTokenReused: () => new Problem(401, 'refresh_token_reused', 'The refresh token was used before; its session has been ended', invalidToken),
  sessionEnded: () => new Problem(401, 'session_ended', 'The session has ended; sign in again', invalidToken),
  crossSite: () => new Problem(403, 'cross_site', 'Requests from this origin are not allowed; see ALLOWED_ORIGINS'),
  notFound: () => new Problem(404, 'not_found', 'There is nothing here'),
  sessionNotFound: () => new Problem(404, 'session_not_found', 'There is no such session'),
  methodNotAllowed: (allow: string) => new Problem(405, 'method_not_allowed', 'This method is not allowed here', { headers: { allow } }),
  identifierTaken: (fields: string[]) => new Problem(409, 'identifier_taken', `This ${fields.join(' and this ')} is already registered`, { errors: fields.map((field) => ({ pointer: `/${field}`, detail: 'is already registered' })) }),
  refused: (status: number) => new Problem(status, titleOf(status).toLowerCase().replaceAll(' ', '_'), `The request was refused: ${titleOf(status)}`),
  requestTimeout: () => new Problem(408, 'request_timeout', 'The request took too long to arrive', { headers: { connection: 'close' } }),
  bodyTooLarge: () => new Problem(413, 'body_too_large', 'The body is too large'),
  unsupportedMediaType: (type = 'application/json') => new Problem(415, 'unsupported_media_type', `The body must be sent as ${type}`, { headers: { accept: type } }),
  invalidInput: (errors: FieldError[]) => new Problem(422, 'invalid_input', errors.map(({ pointer, detail }) => `${pointer.slice(1) || 'body'} ${detail}`).join('; '), { errors }),
  passwordRequired: () => new Problem(422, 'password_required', 'This browser did not register the account: the password that was chosen is needed, too', { errors: [{ pointer: '/password', detail: 'is required' }] }),
  headersTooLarge: () => new Problem(431, 'headers_too_large', 'The headers are too large'),
  tooManyAttempts: (retryAfterSeconds: number) => new Problem(429, 'too_many_attempts', `Too many attempts; try again in ${retryAfterSeconds} s`, { headers: { 'retry-after': `${retryAfterSeconds}` } }),
  rateLimited: (retryAfterSeconds: number) => new Problem(429, 'rate_limited', `Too many requests; try again in ${retryAfterSeconds} s`),
  mailOff: () => new Problem(501, 'mail_off', 'This server sends no mail; its operator can set SMTP_URL'),
  overloaded: () => new Problem(503, 'overloaded', 'Too many sign-ins are waiting; try again shortly', { headers: { 'retry-after': '2' } }),
  hashNotComputed: () => new Problem(503, 'hash_not_computed', 'The server has no memory for a password hash just now; try again shortly', { headers: { 'retry-after': '2' } }),
  databaseAway: () => new Problem(503, 'database_away', 'The database does not answer; try again shortly', { headers: { 'retry-after': '2' } }),
  draining: () => new Problem(503, 'draining', 'The server is shutting down; try again', { headers: { 'retry-after': '1', connection: 'close' } }),
  unexpected: () => new Problem(500, 'unexpected', 'Something went wrong on our side'),
};
