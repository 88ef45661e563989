import type { User } from '../store/users.ts';
import type { Core, MarkedDevice } from './core.ts';
import { tellOwner } from './link-mails.ts';
import { findPasswordFault } from './password-rules.ts';
import { confirmPassword } from './throttle.ts';

export type ChangePasswordResult =
  /** `user` as it is now, for the device cookie: a device of somebody who knew the old password is a stranger's from now on */
  | { outcome: 'changed'; ended: number; user: User }
  | { outcome: 'wrong' }
  /** the old password was not looked at, for too many were wrong */
  | { outcome: 'throttled'; retryAfterMs: number }
  | { outcome: 'weak_password'; fault: string };

type Passwords = { oldPassword: string; newPassword: string };

/**
 * Replaces the password, knowing the old one; every other session of the user and every link that was mailed ends in the same
 * transaction, and the account's address is told (ASVS 6.2.3, 6.3.7, 7.4.3).
 */
export async function changePassword(core: Core, user: User, sessionId: string, { oldPassword, newPassword }: Passwords, device: MarkedDevice): Promise<ChangePasswordResult> {
  const fault = isSame(oldPassword, newPassword) ? 'must not be the old password' : await findPasswordFault(core, newPassword, user);
  if (fault) return { outcome: 'weak_password', fault };
  const confirmed = await confirmPassword(core, user, sessionId, oldPassword);
  if (confirmed.outcome !== 'right') return confirmed;
  const newHash = await core.passwords.hash(newPassword);
  const now = core.now();
  const rows = await core.store.transact([
    core.store.users.replacePasswordHash({ id: user.id, oldHash: user.passwordHash, newHash, changedAt: now }),
    core.store.sessions.revokeOthers({ userId: user.id, keptId: sessionId, reason: 'password_changed', now }),
    core.store.oneTimeTokens.endAll(user.id, now),
    ...(await tellOwner(core, user, { template: 'password_changed' }, device)),
  ]);
  if (rows) return { outcome: 'changed', ended: rows[1]?.length ?? 0, user: { ...user, passwordHash: newHash, passwordChangedAt: now } };
  const changed = await core.store.users.find(user.id); // the hash was changed meanwhile: look again
  return changed ? changePassword(core, changed, sessionId, { oldPassword, newPassword }, device) : { outcome: 'wrong' };
}

/** After NFC, as they are hashed. Whoever "changes" a password to itself believes that a thief is out, and is wrong. */
function isSame(oldPassword: string, newPassword: string): boolean {
  return oldPassword.normalize('NFC') === newPassword.normalize('NFC');
}
