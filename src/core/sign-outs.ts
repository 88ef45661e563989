import type { Session, SessionState } from '../store/sessions.ts';
import type { Core } from './core.ts';
import { endReused, judgePresented, type Refused } from './rotation.ts';
import { isLive } from './sessions.ts';

/** Which of the user's sessions a sign-out ends. */
export type LogoutScope = 'current' | 'others' | 'all';

export type SignOutToken =
  /** the token is the session's current one, or is excused, or its session is over */
  | { outcome: 'found'; session: Session }
  /** the token was superseded too long ago: its session has been ended, and no other (RFC 9700 §4.14.2) */
  | { outcome: 'reused'; session: Session }
  | { outcome: 'refused'; refused: Refused };

/** The session that a refresh token proves possession of. A reused token ends its session at once. */
export async function findSessionToEnd(core: Core, presented: string): Promise<SignOutToken> {
  const judged = await judgePresented(core, presented);
  if (judged.verdict === 'refused') return { outcome: 'refused', refused: judged };
  const { session } = judged;
  if (judged.verdict !== 'reused') return { outcome: 'found', session };
  await endReused(core, session);
  return { outcome: 'reused', session };
}

/**
 * Ends the session, the user's other sessions, or all. A session that is over has no say about others: whoever holds
 * its stolen, dead token cannot sign the user out elsewhere. Durable when it resolves; returns how many sessions ended.
 */
export async function logout(core: Core, session: SessionState, scope: LogoutScope): Promise<number> {
  const now = core.now();
  if (scope !== 'current' && !isLive(core, session)) return 0;
  const { id, userId } = session;
  const { sessions } = core.store;
  const step = scope === 'current' ? sessions.revoke({ id, userId, reason: 'logout', now })
    : scope === 'others' ? sessions.revokeOthers({ userId, keptId: id, reason: 'logout', now })
    : sessions.revokeAll({ userId, reason: 'logout', now });
  const [ended = []] = (await core.store.transact([step])) ?? [];
  return ended.length;
}
