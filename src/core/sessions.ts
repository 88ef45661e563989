import type { DerivedKeys } from '../secrets.ts';
import type { RevokedReason, Session, SessionPlace, SessionState } from '../store/sessions.ts';
import type { User } from '../store/users.ts';
import type { Core, Device } from './core.ts';
import { formatRefreshToken, hashToken, randomId, randomSecret, type RefreshToken } from './refresh-tokens.ts';

/** What an access token is made of. Times are epoch milliseconds. */
export type Grant = { sessionId: string; userId: string; roles: string; authenticatedAt: number; sessionExpiresAt: number };
/** `refreshTokenExpiresAt` is the nearer of the idle and the absolute end of the session. */
export type Issued = Grant & { refreshToken: string; refreshTokenExpiresAt: number };
export type LiveSession = { session: SessionState; user: User };

/** A session to be inserted, and what its first answer carries. */
export function newSession(core: Core, user: Pick<User, 'id' | 'roles'>, device: Device) {
  const now = core.now();
  const [key] = core.config.secrets.derivedKeys;
  const token = { sessionId: randomId(), generation: 0, secret: randomSecret() };
  const row = {
    id: token.sessionId, userId: user.id, createdAt: now, idleExpiresAt: now + core.config.idleMs,
    expiresAt: now + core.config.absoluteMs,
  };
  const step = core.store.sessions.insert({
    ...row, tokenHash: hashToken(token), keyId: key.id, userAgent: device.userAgent, ip: device.ip, now,
    limit: core.config.sessionsPerUser,
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
  const [ended] = (await core.store.transact([core.store.sessions.revoke({ id, userId, reason, now: core.now() })])) ?? [];
  return ended === 1;
}

export type SessionPage = { sessions: Session[]; next: SessionPlace | null };
const NEWEST: SessionPlace = { createdAt: Number.MAX_SAFE_INTEGER, id: '' };

/**
 * The user's live sessions behind a place, the newest sign-in first; `next` is the place at which the following page begins.
 * It looks at `limit` sessions. Those past their time are left out, so a page may have fewer.
 */
export async function listSessions(core: Core, userId: string, limit: number, after = NEWEST): Promise<SessionPage> {
  const rows = await core.store.sessions.list(userId, after, limit + 1);
  const page = rows.slice(0, limit);
  const { createdAt, id } = page.at(-1) ?? NEWEST;
  return { sessions: page.filter((session) => isLive(core, session)), next: rows.length > limit ? { createdAt, id } : null };
}
