import type { Session } from '../store/sessions.ts';
import type { User } from '../store/users.ts';
import type { Core, Device } from './core.ts';
import {
  followTo, type GenuineToken, hashToken, nextToken, parseRefreshToken, recognizeToken, type RefreshToken,
} from './refresh-tokens.ts';
import { endSession, type Issued, isLive, issue } from './sessions.ts';

/** What a refresh token is worth. A token that is refused ends nothing. */
export type Verdict =
  | { verdict: 'current'; session: Session }
  /** superseded within the grace; `current` is the token that took its place in the end */
  | { verdict: 'excused'; session: Session; user: User; current: RefreshToken }
  /** superseded too long ago to be excused: somebody else holds a copy (RFC 9700 §4.14.2) */
  | { verdict: 'reused'; session: Session }
  /** genuine, and its session is over */
  | { verdict: 'ended'; session: Session }
  | Refused;

/**
 * `forged`: no key of ours made its MAC, or none that this copy of the server knows; `no_session`: genuine, and its session
 * is not in the database any more; `ahead`: genuine, and newer than its session's row, because the database lost commits.
 * `sessionId` is what the token says, and `userId` is known only where the session was found.
 */
export type Refused = {
  verdict: 'refused'; reason: 'forged' | 'no_session' | 'ahead'; sessionId: string | null; userId: string | null;
};

export type RefreshResult =
  /** the token was the current one; the answer carries its child */
  | { outcome: 'rotated'; issued: Issued }
  /** the token was superseded within the grace; the answer carries the current one again, and nothing was written */
  | { outcome: 'repeated'; issued: Issued; session: Session }
  /** the token was superseded earlier: its session has been ended (RFC 9700 §4.14.2) */
  | { outcome: 'reused'; session: Session }
  | { outcome: 'ended'; session: Session }
  | { outcome: 'refused'; refused: Refused };

/**
 * Exchanges a refresh token for the next. Holders of one token may race: one rotates, and all within the grace get the same
 * child. Only a genuine, superseded token ends a session; knowing a session's id ends nothing. A session that is refused for
 * its age ends, so that a clock that is set back does not bring it back.
 */
export async function refreshSession(core: Core, presented: string, device: Device): Promise<RefreshResult> {
  const genuine = recognizeToken(core.config.secrets.derivedKeys, presented);
  if (!genuine) return { outcome: 'refused', refused: forged(presented) };
  return (await rotate(core, genuine, device)) ?? explain(core, genuine, device);
}

async function rotate(core: Core, { token, key }: GenuineToken, device: Device): Promise<RefreshResult | null> {
  const next = nextToken(key.chainKey, token);
  const { graceMs, idleMs } = core.config;
  const now = core.now();
  const idleExpiresAt = now + idleMs;
  const row = await core.store.sessions.rotate({
    id: token.sessionId, presentedHash: hashToken(token), keyId: key.id, nextHash: hashToken(next),
    userAgent: device.userAgent, ip: device.ip, now, graceMs, idleExpiresAt,
  });
  if (!row) return null;
  return { outcome: 'rotated', issued: issue(key, { ...row, idleExpiresAt }, row.roles, next) };
}

/** Why the token did not rotate. It tries again, once, if the row was changed between the two statements. */
async function explain(core: Core, genuine: GenuineToken, device: Device, again = true): Promise<RefreshResult> {
  const judged = await judgeToken(core, genuine);
  switch (judged.verdict) {
    case 'refused': return { outcome: 'refused', refused: judged };
    case 'ended':
      if (judged.session.revokedAt === null) await endSession(core, judged.session.userId, judged.session.id, 'expired');
      return { outcome: 'ended', session: judged.session };
    case 'current':
      if (!again) return { outcome: 'ended', session: judged.session };
      return (await rotate(core, genuine, device)) ?? explain(core, genuine, device, false);
    case 'excused': {
      const { session, user, current } = judged;
      return { outcome: 'repeated', issued: issue(genuine.key, session, user.roles, current), session };
    }
    case 'reused':
      await endSession(core, judged.session.userId, judged.session.id, 'refresh_token_reused');
      return { outcome: 'reused', session: judged.session };
  }
}

/** What a presented token is worth; writes nothing. */
export async function judgePresented(core: Core, presented: string): Promise<Verdict> {
  const genuine = recognizeToken(core.config.secrets.derivedKeys, presented);
  return genuine ? judgeToken(core, genuine) : forged(presented);
}

async function judgeToken(core: Core, { token, key }: GenuineToken): Promise<Verdict> {
  const found = await core.store.sessions.find(token.sessionId);
  if (found?.session.keyId !== key.id) return refuse('no_session', token.sessionId, null);
  const { session, user } = found;
  const { generation, tokenHash } = session;
  if (!isLive(core, session)) return { verdict: 'ended', session };
  if (token.generation > generation) return refuse('ahead', session.id, session.userId);
  const current = token.generation === generation || isExcused(core, session, token)
    ? followTo(key.chainKey, token, generation) : null;
  if (!current) return { verdict: 'reused', session };
  if (hashToken(current) !== tokenHash) return refuse('forged', session.id, session.userId); // made with a stolen key
  return current === token ? { verdict: 'current', session } : { verdict: 'excused', session, user, current };
}

/**
 * A token is excused from the generation on at which the window before the current one began, while the last rotation is at
 * most a grace ago, in either direction of the clock. A window is at least one grace long, so whatever was superseded within
 * the grace is excused. It ends with the first rotation a grace after its beginning, so nothing that was superseded more than
 * four graces ago is excused, however busy the session. A grace of 0 excuses nothing.
 */
function isExcused({ config: { graceMs }, now }: Core, session: Session, token: RefreshToken): boolean {
  return graceMs > 0 && Math.abs(now() - session.rotatedAt) <= graceMs && token.generation >= session.previousGeneration;
}

function forged(presented: string): Refused {
  return refuse('forged', parseRefreshToken(presented)?.sessionId ?? null, null);
}

function refuse(reason: Refused['reason'], sessionId: string | null, userId: string | null): Refused {
  return { verdict: 'refused', reason, sessionId, userId };
}
