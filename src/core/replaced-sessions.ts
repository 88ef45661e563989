import type { Step } from '../store/db.ts';
import type { RevokedReason, Session } from '../store/sessions.ts';
import type { Core } from './core.ts';
import { judgePresented, type Refused } from './rotation.ts';

/** What the refresh cookies were worth that came along with a sign-in. */
export type Replaced = {
  /** their sessions live: the new session takes their place in the browser */
  replaced: Session[];
  /** superseded too long ago, so that somebody else holds a copy (RFC 9700 §4.14.2) */
  reused: Session[];
  refused: Refused[];
};

/** Judges the refresh cookies that came along with a sign-in; writes nothing. Call it once the password is known to be right. */
export async function judgeCookies(core: Core, cookies: string[]): Promise<Replaced> {
  const judged: Replaced = { replaced: [], reused: [], refused: [] };
  for (const cookie of cookies) {
    const verdict = await judgePresented(core, cookie);
    if (verdict.verdict === 'refused') judged.refused.push(verdict);
    else if (verdict.verdict === 'reused') judged.reused.push(verdict.session);
    else if (verdict.verdict !== 'ended') judged.replaced.push(verdict.session);
  }
  return judged;
}

/**
 * Ends the sessions of the cookies, whoever's they are: the answer puts another cookie in their place, so that nobody could
 * sign them out any more (ASVS 7.2.4).
 */
export function endReplaced(core: Core, { replaced, reused }: Replaced): Step[] {
  const end = (reason: RevokedReason) => ({ id, userId }: Session) => core.store.sessions.revoke({ id, userId, reason, now: core.now() });
  return [...replaced.map(end('replaced')), ...reused.map(end('refresh_token_reused'))];
}

/** What these steps did, by their counts: a session that another request has ended first is not among them. */
export function keepEnded({ replaced, reused, refused }: Replaced, counts: number[]): Replaced {
  const ended = [...replaced, ...reused].filter((_session, at) => counts[at] === 1);
  return { replaced: replaced.filter((session) => ended.includes(session)), reused: reused.filter((session) => ended.includes(session)), refused };
}
