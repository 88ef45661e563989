import { type Static, type TSchema, Type } from '@sinclair/typebox';
import { MAX_EMAIL_LENGTH } from './core/identifiers.ts';
import { MAX_PASSWORD_LENGTH } from './core/password-rules.ts';
import { problems } from './problems.ts';
import type { User as UserRow } from './store/users.ts';

const strict = { additionalProperties: false };
/** Bounds the work before normalisation; the rule itself counts characters after it. */
const MAX_PASSWORD_INPUT = 4 * MAX_PASSWORD_LENGTH;

export const Email = Type.String({
  format: 'email', maxLength: MAX_EMAIL_LENGTH,
  description: 'ASCII, at most 64 characters before the @, a domain with a dot; compared without case',
});
export const Username = Type.String({ pattern: '^[A-Za-z0-9_]+$', minLength: 1, maxLength: 64, description: 'letters, digits and _; compared without case' });
export const Password = Type.String({ minLength: 1, maxLength: MAX_PASSWORD_INPUT });
export const NewPassword = Type.String({
  minLength: 1, maxLength: MAX_PASSWORD_INPUT,
  description: `at least PASSWORD_MIN_LENGTH (8) and at most ${MAX_PASSWORD_LENGTH} characters, counted after Unicode NFC; none of the commonest passwords, nor your own name or address`,
});

/** A body that names an account. */
export const eitherIdentifier = [{ title: 'with email', required: ['email'] }, { title: 'with username', required: ['username'] }];
export const LinkToken = Type.String({ minLength: 1, maxLength: 128, description: 'what follows `token=` in the link of the mail' });
export const exampleLinkToken = 'uT0gDQ2sJX5n8mKQyqVfWc4ZrLb7hEaP1iNx3oYtGvM';

const UserSchema = Type.Object({
  id: Type.String(),
  email: Type.Union([Type.String(), Type.Null()]),
  username: Type.Union([Type.String(), Type.Null()]),
  email_verified: Type.Boolean(),
  roles: Type.Array(Type.String()),
  created_at: Type.String({ format: 'date-time' }),
}, { $id: 'User', ...strict });
export const User = referTo(UserSchema);
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

const MessageSchema = Type.Object({ msg: Type.String() }, { $id: 'Message', ...strict });
export const Message = referTo(MessageSchema);

const tokens = {
  access_token: Type.String({ description: 'JWT; keep it in memory' }),
  token_type: Type.Literal('bearer'),
  expires_in: Type.Integer({ description: 'seconds that the access token is good for' }),
  refresh_token: Type.Optional(Type.String({ description: 'only for requests that no browser sent: browsers have the cookie' })),
};
const TokensSchema = Type.Object({ msg: Type.String(), ...tokens }, { $id: 'Tokens', ...strict });
export const Tokens = referTo(TokensSchema);
const UserTokensSchema = Type.Object({ msg: Type.String(), user: User, ...tokens }, { $id: 'UserTokens', ...strict });
export const UserTokens = referTo(UserTokensSchema);

export const ProblemSchema = Type.Object({
  type: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  detail: Type.String({ description: 'for people' }),
  code: Type.String({ description: 'for programs' }),
  request_id: Type.String({ description: 'as in the header X-Request-Id and in the server’s log' }),
  errors: Type.Optional(Type.Array(Type.Object({ pointer: Type.String({ description: 'JSON Pointer (RFC 6901)' }), detail: Type.String() }, strict))),
}, { $id: 'Problem', ...strict });

/** The schemas that routes refer to by name; they become components of the OpenAPI document. */
export const sharedSchemas = [UserSchema, MessageSchema, TokensSchema, UserTokensSchema, ProblemSchema];

export function referTo<Schema extends TSchema>({ $id }: Schema) {
  return Type.Unsafe<Static<Schema>>(Type.Ref(`${$id}#`));
}

export const exampleUser: User = {
  id: '7Yc1oTnE0m9d3Qw2kXbVhA', email: 'john@example.com', username: 'johndoe', email_verified: false, roles: [], created_at: '2026-01-31T09:30:00.000Z',
};
export const exampleTokens = { access_token: 'eyJhbGciOiJIUzI1NiIs…', token_type: 'bearer' as const, expires_in: 900, refresh_token: 'rt1.…' };
export const setsSignInCookies = { headers: { 'Set-Cookie': { type: 'string', description: 'the refresh cookie, and the device cookie' } } };
export const setsRegistrantCookie = { headers: { 'Set-Cookie': { type: 'string', description: 'the cookie of the browser that registers' } } };
export const setsRefreshCookie = { headers: { 'Set-Cookie': { type: 'string', description: 'the refresh cookie' } } };

/** A success answer of a route, with what its documentation says of it. */
export function answer<Schema extends TSchema>(schema: Schema, description: string, example: Static<Schema>, more: { headers?: object } = {}) {
  return { ...schema, ...more, description, examples: [example] };
}

const busy = [problems.rateLimited(42), problems.databaseAway()];
/** What every route can answer that asks for an access token. */
export const bearerProblems = [problems.accessTokenMissing(), problems.accessTokenInvalid(), ...busy];
/** What every POST, PATCH and DELETE can answer. */
export const unsafeProblems = [problems.malformedBody(), problems.crossSite(), problems.bodyTooLarge(), problems.unsupportedMediaType(), ...busy];

/** What every route can answer that hashes a password. */
export const passwordProblems = [problems.overloaded(), problems.hashNotComputed(), ...unsafeProblems];
export const exampleFault = 'must have at least 8 characters';

/** OpenAPI `security` of a route behind `authenticate`. */
export const bearer = [{ accessToken: [] }];
/** The same for a route that needs the token only for some bodies. */
export const optionalBearer = [...bearer, {}];
