import type { User } from '../store/users.ts';
import type { Core, MarkedDevice } from './core.ts';
import { tellOwner } from './link-mails.ts';
import { findPasswordFault } from './password-rules.ts';
import { endReplaced, judgeCookies, keepEnded, type Replaced } from './replaced-sessions.ts';
import { endExcessSessions } from './session-limits.ts';
import { type Issued, type LiveSession, newSession } from './sessions.ts';
import { confirmPassword } from './throttle.ts';

export type ChangePasswordResult =
  /**
   * `user` as it is now, for the device cookie: a device of somebody who knew the old password is a stranger's from now on.
   * `ended`: all sessions that ended; `presented`: what became of the cookies that came along
   */
  | { outcome: 'changed'; ended: number; user: User; issued: Issued; presented: Replaced }
  | { outcome: 'wrong' }
  /** the old password was not looked at, for too many were wrong */
  | { outcome: 'throttled'; retryAfterMs: number }
  | { outcome: 'weak_password'; fault: string };

type Passwords = { oldPassword: string; newPassword: string };

/**
 * Replaces the password, knowing the old one. In the same transaction every session of the user and every link that was
 * mailed ends, also this session, of which somebody may hold a copy; a new session begins, and the account's address is told
 * (ASVS 6.2.3, 6.3.7, 7.2.4, 7.4.3).
 */
export async function changePassword(
  core: Core, { user, session }: LiveSession, passwords: Passwords, device: MarkedDevice, cookies: string[],
): Promise<ChangePasswordResult> {
  const { oldPassword, newPassword } = passwords;
  const fault = isSame(oldPassword, newPassword) ? 'must not be the old password' : await findPasswordFault(core, newPassword, user);
  if (fault) return { outcome: 'weak_password', fault };
  const confirmed = await confirmPassword(core, user, session.id, oldPassword);
  if (confirmed.outcome !== 'right') return confirmed;
  const newHash = await core.passwords.hash(newPassword);
  const judged = await judgeCookies(core, cookies);
  const replacing = endReplaced(core, judged);
  const surplus = await endExcessSessions(core, user.id);
  const now = core.now();
  const { step, issued } = newSession(core, user, device);
  const counts = await core.store.transact([
    core.store.users.replacePasswordHash({ id: user.id, oldHash: user.passwordHash, newHash, changedAt: now }),
    ...replacing,
    core.store.sessions.revokeAll({ userId: user.id, reason: 'password_changed', now }),
    step,
    core.store.oneTimeTokens.endAll(user.id, now),
    ...(await tellOwner(core, user, { template: 'password_changed' }, device)),
  ]);
  if (counts) {
    const ended = counts.slice(1, replacing.length + 2).reduce((sum, count) => sum + count, surplus);
    const changed = { ...user, passwordHash: newHash, passwordChangedAt: now };
    return { outcome: 'changed', ended, user: changed, issued, presented: keepEnded(judged, counts.slice(1)) };
  }
  const present = await core.store.users.find(user.id); // the hash was changed meanwhile: look again
  return present ? changePassword(core, { user: present, session }, passwords, device, cookies) : { outcome: 'wrong' };
}

/** After NFC, as they are hashed. Whoever "changes" a password to itself believes that a thief is out, and is wrong. */
function isSame(oldPassword: string, newPassword: string): boolean {
  return oldPassword.normalize('NFC') === newPassword.normalize('NFC');
}
