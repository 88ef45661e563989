import type { User } from '../store/users.ts';
import type { Core } from './core.ts';
import { findPasswordFault } from './passwords.ts';

export type ChangePasswordResult =
  | { outcome: 'changed'; ended: number }
  | { outcome: 'wrong_password' }
  | { outcome: 'weak_password'; fault: string };

/** Replaces the password, knowing the old one, and ends every other session of the user in the same transaction (ASVS 6.2.3, 7.4.3). */
export async function changePassword(core: Core, user: User, sessionId: string, { oldPassword, newPassword }: { oldPassword: string; newPassword: string }): Promise<ChangePasswordResult> {
  const fault = findPasswordFault(core.config, newPassword);
  if (fault) return { outcome: 'weak_password', fault };
  if (!(await core.passwords.verify(oldPassword, user.passwordHash))) return { outcome: 'wrong_password' };
  const newHash = await core.passwords.hash(newPassword);
  const now = core.now();
  const rows = await core.store.transact([
    core.store.users.replacePasswordHash({ id: user.id, oldHash: user.passwordHash, newHash, changedAt: now }),
    core.store.sessions.revokeOthers({ userId: user.id, keptId: sessionId, reason: 'password_changed', now }),
  ]);
  if (rows) return { outcome: 'changed', ended: rows[1]?.length ?? 0 };
  const changed = await core.store.users.find(user.id); // the hash was changed meanwhile: look again
  return changed ? changePassword(core, changed, sessionId, { oldPassword, newPassword }) : { outcome: 'wrong_password' };
}
