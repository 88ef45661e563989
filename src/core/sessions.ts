import type { DerivedKeys } from '../secrets.ts';
import type { RevokedReason, Session, SessionState } from '../store/sessions.ts';
import type { User } from '../store/users.ts';
import type { Core, Device } from './core.ts';
import { formatRefreshToken, hashToken, randomId, randomSecret, type RefreshToken } from './refresh-tokens.ts';

/** What an access token is made of. Times are epoch milliseconds. */
export type Grant = { sessionId: string; userId: string; roles: string; authenticatedAt: number; sessionExpiresAt: number };
/** `refreshTokenExpiresAt` is the nearer of the idle and the absolute end of the session. */
export type Issued = Grant & { refreshToken: string; refreshTokenExpiresAt: number };
export type LiveSession = { session: SessionState; user: User };

/** A session to be inserted, and what its first answer carries. */
export function newSession(core: Core, user: Pick<User, 'id' | 'roles' | 'passwordHash'>, device: Device) {
  const now = core.now();
  const [key] = core.config.secrets.derivedKeys;
  const token = { sessionId: randomId(), generation: 0, secret: randomSecret() };
  const row = {
    id: token.sessionId, userId: user.id, createdAt: now, idleExpiresAt: now + core.config.idleMs,
    expiresAt: now + core.config.absoluteMs,
  };
  const step = core.store.sessions.insert({
    ...row, passwordHash: user.passwordHash, tokenHash: hashToken(token),
    keyId: key.id, userAgent: device.userAgent, ip: device.ip, now,
  });
  return { step, issued: issue(key, row, user.roles, token) };
}

type SessionTimes = Pick<Session, 'id' | 'userId' | 'createdAt' | 'idleExpiresAt' | 'expiresAt'>;

/** What an answer carries: the token, and what the access token is made of. */
export function issue(key: DerivedKeys, session: SessionTimes, roles: string, token: RefreshToken): Issued {
  const { id, userId, createdAt, idleExpiresAt, expiresAt } = session;
  return {
    sessionId: id, userId, roles, authenticatedAt: createdAt, sessionExpiresAt: expiresAt,
    refreshToken: formatRefreshToken(key, token), refreshTokenExpiresAt: Math.min(idleExpiresAt, expiresAt),
  };
}

/** A session whose key this copy of the server does not know is of no use here. It may be on another copy. */
export function isLive(core: Core, session: SessionState): boolean {
  const now = core.now();
  return session.revokedAt === null && session.idleExpiresAt > now && session.expiresAt > now && hasKey(core, session);
}

function hasKey(core: Core, session: SessionState): boolean {
  return core.config.secrets.derivedKeys.some(({ id }) => id === session.keyId);
}

/** The live session of an access token with its user, by one indexed look-up; undefined once it has ended (ASVS 7.4.1). */
export async function findLiveSession(core: Core, sessionId: string): Promise<LiveSession | undefined> {
  const found = await core.store.sessions.findLive(sessionId, core.now());
  return found && hasKey(core, found.session) ? found : undefined;
}

/** Ends one of the user's sessions by its id; false when the user has no such live session. */
export async function endSession(core: Core, userId: string, id: string, reason: RevokedReason): Promise<boolean> {
  const [ended = []] = (await core.store.transact([core.store.sessions.revoke({ id, userId, reason, now: core.now() })])) ?? [];
  return ended.length > 0;
}

/** The user's live sessions, last used first. */
export async function listSessions(core: Core, userId: string): Promise<Session[]> {
  const sessions = await core.store.sessions.list(userId, core.now());
  return sessions.filter((session) => hasKey(core, session));
}
