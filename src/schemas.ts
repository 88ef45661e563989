import { STATUS_CODES } from 'node:http';
import { type Static, Type } from '@sinclair/typebox';
import { MAX_PASSWORD_LENGTH } from './core/passwords.ts';
import type { User as UserRow } from './store/users.ts';

const strict = { additionalProperties: false };
/** Bounds the work before normalisation; the rule itself counts characters after it. */
const MAX_PASSWORD_INPUT = 4 * MAX_PASSWORD_LENGTH;

export const Email = Type.String({ format: 'email', maxLength: 254, description: 'compared without case' });
export const Username = Type.String({ pattern: '^[A-Za-z0-9_]+$', minLength: 1, maxLength: 64, description: 'letters, digits and _; compared without case' });
export const Password = Type.String({ minLength: 1, maxLength: MAX_PASSWORD_INPUT });
export const NewPassword = Type.String({
  minLength: 1, maxLength: MAX_PASSWORD_INPUT,
  description: `at least PASSWORD_MIN_LENGTH (8) and at most ${MAX_PASSWORD_LENGTH} characters, counted after Unicode NFC`,
});

export const User = Type.Object({
  id: Type.String(),
  email: Type.Union([Type.String(), Type.Null()]),
  username: Type.Union([Type.String(), Type.Null()]),
  email_verified: Type.Boolean(),
  roles: Type.Array(Type.String()),
  created_at: Type.String({ format: 'date-time' }),
}, strict);
export type User = Static<typeof User>;

/** The fields of an account that leave the server, one by one: a new column does not become a new field. */
export function toUser(row: UserRow): User {
  return {
    id: row.id,
    email: row.email,
    username: row.username,
    email_verified: row.emailVerifiedAt !== null,
    roles: row.roles.split(' ').filter(Boolean),
    created_at: new Date(row.createdAt).toISOString(),
  };
}

export const Message = Type.Object({ msg: Type.String() }, strict);

const tokens = {
  access_token: Type.String({ description: 'JWT; keep it in memory' }),
  token_type: Type.Literal('bearer'),
  expires_in: Type.Integer({ description: 'seconds' }),
  refresh_token: Type.Optional(Type.String({ description: 'never for browsers: they have the cookie' })),
};
export const Tokens = Type.Object({ msg: Type.String(), ...tokens }, strict);
export const UserTokens = Type.Object({ msg: Type.String(), user: User, ...tokens }, strict);

export const ProblemDetails = Type.Object({
  type: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  detail: Type.String(),
  code: Type.String(),
  request_id: Type.String(),
  errors: Type.Optional(Type.Array(Type.Object({ pointer: Type.String(), detail: Type.String() }))),
});

/** The error answers of a route, for its documentation: those named, and those that any route can give. */
export function problemAnswers<Status extends number>(...statuses: Status[]) {
  const answer = (status: number) => [status, {
    description: STATUS_CODES[status] ?? '',
    content: { 'application/problem+json': { schema: ProblemDetails } },
  }];
  return Object.fromEntries([...statuses, 400, 429, 500, 503].map(answer)) as Record<Status | 400 | 429 | 500 | 503, unknown>;
}

/** OpenAPI `security` of a route behind `authenticate`. */
export const bearer = [{ accessToken: [] }];
