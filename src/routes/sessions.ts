import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import type { FastifyRequest } from 'fastify';
import { type RefreshResult, refreshSession } from '../core/rotation.ts';
import { endSession, findLiveSession, listSessions } from '../core/sessions.ts';
import { findSessionToEnd, logout } from '../core/sign-outs.ts';
import { bearerToken } from '../plugins/access-tokens.ts';
import { emptyBodyIsNone } from '../plugins/json-body.ts';
import { limitTokens } from '../plugins/rate-limits.ts';
import { problems } from '../problems.ts';
import { answer, bearer, bearerProblems, exampleTokens, Message, setsRefreshCookie, Tokens, unsafeProblems } from '../schemas.ts';
import type { Session as SessionRow, SessionPlace, SessionState } from '../store/sessions.ts';
import { answerTokens, deviceOf } from './token-answers.ts';
import { aboutSession, logRefused, logReused } from './token-events.ts';

const RefreshTokenBody = Type.Object({ refresh_token: Type.Optional(Type.String({ maxLength: 512, description: 'where the cookie is not at hand' })) }, {
  additionalProperties: false, examples: [{}],
});
const LogoutQuery = Type.Object({
  scope: Type.Optional(Type.Unsafe<'current' | 'others' | 'all'>({ type: 'string', enum: ['current', 'others', 'all'], default: 'current', description: 'which of one’s sessions to end' })),
});
const SessionParams = Type.Object({ id: Type.String({ maxLength: 64, pattern: '^[\\w-]*$', description: 'from the list of sessions' }) });
const Session = Type.Object({
  id: Type.String(),
  device: Type.Union([Type.String(), Type.Null()], { description: 'the User-Agent of the last refresh' }),
  address: Type.String({ description: 'the IP address of the last refresh' }),
  created_at: Type.String({ format: 'date-time' }),
  last_used_at: Type.String({ format: 'date-time', description: 'the last refresh' }),
  idle_expires_at: Type.String({ format: 'date-time', description: 'the end, unless the session is refreshed before' }),
  expires_at: Type.String({ format: 'date-time', description: 'the absolute end' }),
  current: Type.Boolean(),
}, { additionalProperties: false });
const SessionList = Type.Object({
  sessions: Type.Array(Session),
  next: Type.Union([Type.String(), Type.Null()], { description: '`after` of the following page; null on the last one' }),
}, { additionalProperties: false });

const PAGE = 100;
const LIMIT_RULE = `must be an integer from 1 to ${PAGE}`;
/** Query strings are text, and nothing is coerced: `readPage` reads them. */
const SessionsQuery = Type.Object({
  after: Type.Optional(Type.String({ description: '`next` of the page before' })),
  limit: Type.Optional(Type.String({ description: `sessions on a page: ${LIMIT_RULE}; ${PAGE} if it is left out` })),
});


const exampleSession = {
  id: '1mB4kq2ZQyWc9nT8xJfRsg', device: 'Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0', address: '192.0.2.7',
  created_at: '2026-01-31T09:30:00.000Z', last_used_at: '2026-02-01T17:45:12.000Z', idle_expires_at: '2026-02-08T17:45:12.000Z',
  expires_at: '2026-03-02T09:30:00.000Z', current: true,
};

const refreshCredentials = [{ refreshCookie: [] }, { refreshToken: [] }];
const refreshProblems = [
  problems.refreshTokenMissing(), problems.refreshTokenInvalid(), problems.refreshTokenReused(), problems.sessionEnded(),
  problems.invalidInput([{ pointer: '/refresh_token', detail: 'must be string' }]), ...unsafeProblems,
];
const logoutProblems = [
  problems.tokenMissing(), problems.invalidInput([{ pointer: '/scope', detail: 'must be one of current, others, all' }]), ...unsafeProblems,
];
const listProblems = [problems.invalidInput([{ pointer: '/limit', detail: LIMIT_RULE }]), ...bearerProblems];
const endProblems = [problems.sessionNotFound(), problems.invalidInput([{ pointer: '/id', detail: 'must NOT have more than 64 characters' }]), ...bearerProblems, ...unsafeProblems];

/** Refresh, sign-out, and the list of one's sessions. */
const sessionRoutes: FastifyPluginAsyncTypebox = async (app) => {
  const config = limitTokens(app);

  app.post('/auth/refresh', {
    config,
    schema: {
      tags: ['auth'], operationId: 'refresh', summary: 'Exchange the refresh token for new tokens', body: RefreshTokenBody, security: refreshCredentials,
      description: 'The refresh token comes by its cookie, as `refresh_token` in the body, or as `Authorization: Bearer`. Requests that race get the same new token.',
      response: {
        200: answer(Tokens, 'new tokens', { msg: 'Token refreshed', ...exampleTokens }, setsRefreshCookie),
      },
      problems: refreshProblems,
    },
    preValidation: emptyBodyIsNone,
  }, async (request, reply) => {
    const { tokens, byCookie } = presentedTokens(request, request.body.refresh_token);
    if (tokens.length === 0) throw problems.refreshTokenMissing();
    const result = await refreshFirst(request, tokens);
    if (result.outcome === 'rotated' || result.outcome === 'repeated') {
      return { msg: 'Token refreshed', ...answerTokens(app, request, reply, result.issued, byCookie) };
    }
    if (result.outcome === 'refused') throw problems.refreshTokenInvalid();
    if (byCookie) reply.clearRefreshCookie();
    throw result.outcome === 'reused' ? problems.refreshTokenReused() : problems.sessionEnded();
  });

  /** The cookies of several sessions are each tried, until one is good; if none is, the last finding counts. */
  async function refreshFirst(request: FastifyRequest, [first = '', ...others]: string[]): Promise<RefreshResult> {
    let result = await refreshOne(request, first);
    for (const token of others) {
      if (result.outcome === 'rotated' || result.outcome === 'repeated') break;
      const next = await refreshOne(request, token);
      if (next.outcome !== 'refused') result = next;
    }
    return result;
  }

  async function refreshOne(request: FastifyRequest, token: string): Promise<RefreshResult> {
    const result = await refreshSession(app, token, deviceOf(request));
    if (result.outcome !== 'rotated') logUnrotated(request, result);
    return result;
  }

  function logUnrotated(request: FastifyRequest, result: Exclude<RefreshResult, { outcome: 'rotated' }>): void {
    if (result.outcome === 'refused') return logRefused(request, result.refused);
    if (result.outcome === 'reused') return logReused(app, request, result.session);
    const about = aboutSession(request, result.session);
    if (result.outcome === 'repeated') {
      const repeats = app.countRepeat(result.session.id);
      request.log.warn({ event: 'refresh_token_repeated', ...about, repeats }, 'a superseded refresh token came back within the grace');
    } else {
      request.log.info({ event: 'refresh_token_dead', ...about }, 'refused a refresh token whose session is over');
    }
  }

  app.post('/auth/logout', {
    config,
    schema: {
      tags: ['auth'], operationId: 'logout', summary: 'Sign out', body: RefreshTokenBody, querystring: LogoutQuery, security: [...refreshCredentials, ...bearer],
      description: 'Ends this session, the others, or all of them, at once, access tokens included. Takes the refresh token, or an access token, also an expired one. Signing out twice is fine.',
      response: {
        200: answer(Message, 'signed out; the cookie is cleared, except by `scope=others`', { msg: 'logged out' }),
      },
      problems: logoutProblems,
    },
    preValidation: emptyBodyIsNone,
  }, async (request, reply) => {
    const { scope = 'current' } = request.query;
    const sessions = await presentedSessions(request);
    if (!sessions) throw problems.tokenMissing();
    for (const session of sessions) {
      const ended = await logout(app, session, scope);
      request.log.info({ event: 'signed_out', user_id: session.userId, session_id: session.id, scope, sessions_ended: ended, ip: request.ip }, 'signed out');
    }
    if (scope !== 'others') reply.clearRefreshCookie().header('clear-site-data', '"cache"');
    return { msg: 'logged out' };
  });

  /** The sessions that the request proves possession of, by whatever it presents; null if it presents nothing. */
  async function presentedSessions(request: FastifyRequest<{ Body: { refresh_token?: string } }>): Promise<SessionState[] | null> {
    const tokens = [...presentedTokens(request, request.body.refresh_token).tokens, ...request.refreshCookies()];
    const access = bearerToken(request);
    if (tokens.length === 0 && access === null) return null;
    const found = new Map<string, SessionState>();
    for (const token of new Set(tokens)) {
      const session = await sessionToEnd(request, token);
      if (session) found.set(session.id, session);
    }
    const claims = access && app.accessTokens.verify(access);
    const byAccess = claims ? (await findLiveSession(app, claims.sid))?.session : undefined;
    if (byAccess) found.set(byAccess.id, byAccess);
    return [...found.values()];
  }

  /** Null for a token that is refused, and for one that was reused: its session is over by then. */
  async function sessionToEnd(request: FastifyRequest, token: string): Promise<SessionState | null> {
    const result = await findSessionToEnd(app, token);
    if (result.outcome === 'found') return result.session;
    if (result.outcome === 'refused') logRefused(request, result.refused);
    else logReused(app, request, result.session);
    return null;
  }

  app.get('/auth/sessions', {
    config,
    schema: {
      tags: ['sessions'], operationId: 'listSessions', summary: 'List one’s sessions, the newest sign-in first', querystring: SessionsQuery, security: bearer,
      description: 'In pages. A page may have fewer sessions than `limit`, also none, and still not be the last one: follow `next` until it is null.',
      response: { 200: answer(SessionList, 'the sessions', { sessions: [exampleSession], next: null }) },
      problems: listProblems,
    },
    preParsing: app.authenticate,
  }, async (request) => {
    const { user, session } = request.auth;
    const { limit, after } = readPage(request.query);
    const { sessions, next } = await listSessions(app, user.id, limit, after);
    return { sessions: sessions.map((row) => toSession(row, session.id)), next: next && `${next.createdAt}.${next.id}` };
  });

  app.delete('/auth/sessions/:id', {
    config,
    schema: {
      tags: ['sessions'], operationId: 'endSession', summary: 'End one of one’s sessions', params: SessionParams, security: bearer,
      response: { 204: Type.Null({ description: 'ended' }) },
      problems: endProblems,
    },
    preParsing: app.authenticate,
  }, async (request, reply) => {
    const { user, session } = request.auth;
    if (!(await endSession(app, user.id, request.params.id, 'ended_by_user'))) throw problems.sessionNotFound();
    request.log.info({ event: 'session_ended', user_id: user.id, session_id: request.params.id, ip: request.ip }, 'ended a session');
    if (request.params.id === session.id) reply.clearRefreshCookie();
    return reply.code(204).send(null);
  });
};
export default sessionRoutes;

/** The refresh tokens of a request: the one in the body or the Authorization header, or else those of the cookies. */
function presentedTokens(request: FastifyRequest, inBody: string | undefined): { tokens: string[]; byCookie: boolean } {
  const inHeader = bearerToken(request);
  const explicit = inBody ?? (inHeader?.startsWith('rt1.') ? inHeader : undefined);
  return explicit === undefined ? { tokens: request.refreshCookies(), byCookie: true } : { tokens: [explicit], byCookie: false };
}

/** @throws 422 for what is no page */
function readPage({ limit = `${PAGE}`, after }: { limit?: string; after?: string }): { limit: number; after?: SessionPlace } {
  if (!/^[1-9]\d{0,2}$/.test(limit) || Number(limit) > PAGE) throw problems.invalidInput([{ pointer: '/limit', detail: LIMIT_RULE }]);
  if (after === undefined) return { limit: Number(limit) };
  const [, createdAt, id] = /^(\d{1,15})\.([\w-]{1,64})$/.exec(after) ?? [];
  if (createdAt === undefined || id === undefined) throw problems.invalidInput([{ pointer: '/after', detail: 'must be `next` of another page' }]);
  return { limit: Number(limit), after: { createdAt: Number(createdAt), id } };
}

function toSession(row: SessionRow, currentId: string) {
  return {
    id: row.id,
    device: row.userAgent,
    address: row.ip,
    created_at: new Date(row.createdAt).toISOString(),
    last_used_at: new Date(row.lastUsedAt).toISOString(),
    idle_expires_at: new Date(row.idleExpiresAt).toISOString(),
    expires_at: new Date(row.expiresAt).toISOString(),
    current: row.id === currentId,
  };
}
