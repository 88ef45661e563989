import type { Session, SessionState, RevokedReason } from '../store/sessions.ts';
import type { User } from '../store/users.ts';
import type { DerivedKeys } from '../secrets.ts';
import type { Core, Device } from './core.ts';
import { followTo, formatRefreshToken, hashToken, nextToken, parseRefreshToken, randomId, randomSecret, type RefreshToken } from './refresh-tokens.ts';

/** What an access token is made of. Times are epoch milliseconds. */
export type Grant = { sessionId: string; userId: string; roles: string; authenticatedAt: number; sessionExpiresAt: number };
export type Issued = Grant & { refreshToken: string };
export type LiveSession = { session: SessionState; user: User };

/** A session to be inserted, and what its first answer carries. */
export function newSession(core: Core, user: Pick<User, 'id' | 'roles' | 'passwordHash'>, device: Device) {
  const now = core.now();
  const key = core.config.secrets.derivedKeys[0];
  const token = { sessionId: randomId(), generation: 0, secret: randomSecret() };
  const expiresAt = now + core.config.absoluteMs;
  const step = core.store.sessions.insert({
    id: token.sessionId, userId: user.id, passwordHash: user.passwordHash, tokenHash: hashToken(token),
    keyId: key.id, userAgent: device.userAgent, ip: device.ip, now, idleExpiresAt: now + core.config.idleMs, expiresAt,
  });
  const issued: Issued = {
    sessionId: token.sessionId, userId: user.id, roles: user.roles, authenticatedAt: now, sessionExpiresAt: expiresAt,
    refreshToken: formatRefreshToken(token),
  };
  return { step, issued };
}

export type RefreshResult =
  /** the token was the current one; the answer carries its child */
  | { outcome: 'rotated'; issued: Issued }
  /** the token was superseded within the grace; the answer carries the current one again, and nothing was written */
  | { outcome: 'repeated'; issued: Issued; session: Session }
  /** the token was superseded earlier: its session has been ended (RFC 9700 §4.14) */
  | { outcome: 'reused'; session: Session }
  /** the token is genuine, and its session is over */
  | { outcome: 'ended' }
  /** no such token was ever issued, or its key is gone; nothing was ended */
  | { outcome: 'unknown' };

/**
 * Exchanges a refresh token for the next. Holders of one token may race: one rotates, and all within the grace are
 * answered with the same child. Only proof of an older token ends a session, never knowledge of its id.
 */
export async function refreshSession(core: Core, presented: string, device: Device): Promise<RefreshResult> {
  const token = parseRefreshToken(presented);
  if (!token) return { outcome: 'unknown' };
  return (await rotate(core, token, device, core.config.secrets.derivedKeys[0])) ?? explain(core, token, device);
}

async function rotate(core: Core, token: RefreshToken, device: Device, key: DerivedKeys): Promise<RefreshResult | null> {
  const next = nextToken(key.chainKey, token);
  const { graceMs, idleMs } = core.config;
  const now = core.now();
  const row = await core.store.sessions.rotate({
    id: token.sessionId, presentedHash: hashToken(token), keyId: key.id, nextHash: hashToken(next),
    userAgent: device.userAgent, ip: device.ip, now, graceMs, idleExpiresAt: now + idleMs,
  });
  if (!row) return null;
  return { outcome: 'rotated', issued: issue(row, row.roles, next) };
}

/** Why the token did not rotate. A session that was begun under an older SECRET_KEY rotates here. */
async function explain(core: Core, token: RefreshToken, device: Device): Promise<RefreshResult> {
  const proof = await proveToken(core, token);
  if (!proof) return { outcome: 'unknown' };
  const { session, user, current, key } = proof;
  if (!key || !isLive(core, session)) return { outcome: 'ended' };
  if (current.generation === token.generation) return (await rotate(core, token, device, key)) ?? explain(core, token, device);
  if (isExcused(core, session, token)) return { outcome: 'repeated', issued: issue(session, user.roles, current), session };
  await core.store.transact([core.store.sessions.revoke({ id: session.id, userId: session.userId, reason: 'refresh_token_reused', now: core.now() })]);
  return { outcome: 'reused', session };
}

function issue(session: Pick<Session, 'id' | 'userId' | 'createdAt' | 'expiresAt'>, roles: string, token: RefreshToken): Issued {
  return {
    sessionId: session.id, userId: session.userId, roles, authenticatedAt: session.createdAt,
    sessionExpiresAt: session.expiresAt, refreshToken: formatRefreshToken(token),
  };
}

/**
 * A token superseded within the grace is always in the current burst of rotations, for a new burst can only begin more
 * than a grace after it. One superseded earlier in a long burst may be excused a little longer. A grace of 0 excuses none.
 */
function isExcused(core: Core, session: Session, token: RefreshToken): boolean {
  const { graceMs } = core.config;
  return graceMs > 0 && core.now() - session.rotatedAt <= graceMs && token.generation >= session.burstGeneration;
}

/** A session whose key was taken out of SECRET_KEY is over, too. */
function keyOf(core: Core, session: SessionState): DerivedKeys | undefined {
  return core.config.secrets.derivedKeys.find(({ id }) => id === session.keyId);
}

function isLive(core: Core, session: SessionState): boolean {
  const now = core.now();
  return session.revokedAt === null && session.idleExpiresAt > now && session.expiresAt > now && keyOf(core, session) !== undefined;
}

/** The session of a token that is, or once was, its current one; null for a forgery. Without its key, only the current one can be told. */
async function proveToken(core: Core, token: RefreshToken) {
  const found = await core.store.sessions.find(token.sessionId);
  if (!found) return null;
  const key = keyOf(core, found.session);
  const current = key ? followTo(key.chainKey, token, found.session.generation) : token;
  if (!current || hashToken(current) !== found.session.tokenHash) return null;
  return { ...found, current, key };
}

/** The session that a refresh token proves possession of, whether it lives or not; null for anything else. */
export async function findSessionByToken(core: Core, presented: string): Promise<Session | null> {
  const token = parseRefreshToken(presented);
  return (token && (await proveToken(core, token))?.session) ?? null;
}

/** The live session of an access token with its user, by one indexed look-up; undefined once it has ended (ASVS 7.4.1). */
export async function findLiveSession(core: Core, sessionId: string): Promise<LiveSession | undefined> {
  const found = await core.store.sessions.findLive(sessionId, core.now());
  return found && keyOf(core, found.session) ? found : undefined;
}

export type LogoutScope = 'current' | 'others' | 'all';

/**
 * Ends the session, the user's other sessions, or all. A session that is over has no say about others: whoever holds
 * its stolen, dead token cannot sign the user out elsewhere. Durable when it resolves; says how many sessions ended.
 */
export async function logout(core: Core, session: SessionState, scope: LogoutScope): Promise<number> {
  const now = core.now();
  if (scope !== 'current' && !isLive(core, session)) return 0;
  const { id, userId } = session;
  const { sessions } = core.store;
  const step = scope === 'current' ? sessions.revoke({ id, userId, reason: 'logout', now })
    : scope === 'others' ? sessions.revokeOthers({ userId, keptId: id, reason: 'logout', now })
    : sessions.revokeAll({ userId, reason: 'logout', now });
  return countEnded(core, step);
}

/** Ends one of the user's sessions by its id; false when the user has no such live session. */
export async function endSession(core: Core, userId: string, id: string, reason: RevokedReason): Promise<boolean> {
  return (await countEnded(core, core.store.sessions.revoke({ id, userId, reason, now: core.now() }))) > 0;
}

async function countEnded(core: Core, step: Parameters<Core['store']['transact']>[0][number]): Promise<number> {
  const [ended = []] = (await core.store.transact([step])) ?? [];
  return ended.length;
}

/** The user's live sessions, last used first. */
export async function listSessions(core: Core, userId: string): Promise<Session[]> {
  const sessions = await core.store.sessions.list(userId, core.now());
  return sessions.filter((session) => keyOf(core, session));
}
