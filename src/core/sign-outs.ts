import type { Session, SessionState } from '../store/sessions.ts';
import type { Core } from './core.ts';
import { judgePresented, type Refused } from './rotation.ts';
import { endExcessSessions } from './session-limits.ts';
import { endSession, isLive } from './sessions.ts';

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
  await endSession(core, session.userId, session.id, 'refresh_token_reused');
  return { outcome: 'reused', session };
}

/**
 * Ends the session, the user's other sessions, or all. A session that is over has no say about others: whoever holds
 * its stolen, dead token cannot sign the user out elsewhere. It ends itself, for a clock that is set back. Durable when it
 * resolves; returns how many sessions ended.
 */
export async function logout(core: Core, session: SessionState, wanted: LogoutScope): Promise<number> {
  const { id, userId } = session;
  const scope = isLive(core, session) ? wanted : 'current';
  const { sessions } = core.store;
  const surplus = scope === 'current' ? 0 : await endExcessSessions(core, userId, scope === 'others' ? id : '');
  const end = { userId, reason: 'logout', now: core.now() } as const;
  const step = scope === 'current' ? sessions.revoke({ ...end, id })
    : scope === 'others' ? sessions.revokeOthers({ ...end, keptId: id })
    : sessions.revokeAll(end);
  const [ended = 0] = (await core.store.transact([step])) ?? [];
  return surplus + ended;
}
