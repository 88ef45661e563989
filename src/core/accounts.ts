import type { User } from '../store/users.ts';
import type { Core, Device } from './core.ts';
import { findPasswordFault } from './passwords.ts';
import { randomId } from './refresh-tokens.ts';
import { type Issued, newSession } from './sessions.ts';

export type Credentials = { email?: string | undefined; username?: string | undefined; password: string };

/** E-mail addresses are compared without case. */
function normalizeEmail(email: string): string {
  return email.toLowerCase();
}

/** Usernames are ASCII letters, digits and `_`, compared without case. */
function usernameKey(username: string): string {
  return username.toLowerCase();
}

export type RegisterResult =
  | { outcome: 'registered'; user: User; issued: Issued }
  /** another account holds these identifiers */
  | { outcome: 'taken'; fields: ('email' | 'username')[] }
  | { outcome: 'weak_password'; fault: string };

/** Makes an account and signs it in, in one transaction. */
export async function register(core: Core, { email, username, password }: Credentials, device: Device): Promise<RegisterResult> {
  const fault = findPasswordFault(core.config, password);
  if (fault) return { outcome: 'weak_password', fault };
  const now = core.now();
  const user: User = {
    id: randomId(),
    email: email === undefined ? null : normalizeEmail(email),
    username: username ?? null,
    usernameKey: username === undefined ? null : usernameKey(username),
    passwordHash: await core.passwords.hash(password),
    roles: '',
    emailVerifiedAt: null,
    passwordChangedAt: now,
    createdAt: now,
  };
  const { step, issued } = newSession(core, user, device);
  if (await core.store.transact([core.store.users.insert(user), step])) return { outcome: 'registered', user, issued };
  const holders = await core.store.users.findByIdentifier(user.email, user.usernameKey);
  const fields = (['email', 'username'] as const).filter((field) => {
    const key = field === 'email' ? 'email' : 'usernameKey';
    return user[key] !== null && holders.some((holder) => holder[key] === user[key]);
  });
  return { outcome: 'taken', fields };
}

export type LoginResult =
  | { outcome: 'signed_in'; user: User; issued: Issued }
  /** wrong password, or no such account: the same answer after the same work (ASVS 6.3.8) */
  | { outcome: 'refused'; userId: string | null };

/** Checks the password and begins a session. A hash of another cost than the configured one is replaced on the way. */
export async function login(core: Core, { email, username, password }: Credentials, device: Device): Promise<LoginResult> {
  const [user] = await core.store.users.findByIdentifier(
    email === undefined ? null : normalizeEmail(email),
    username === undefined ? null : usernameKey(username),
  );
  const fits = await core.passwords.verify(password, user?.passwordHash);
  if (!user || !fits) return { outcome: 'refused', userId: user?.id ?? null };
  const upgraded = core.passwords.isOutdated(user.passwordHash) ? await core.passwords.hash(password) : null;
  const { step, issued } = newSession(core, { ...user, passwordHash: upgraded ?? user.passwordHash }, device);
  const upgrade = upgraded === null ? [] : [core.store.users.replacePasswordHash({
    id: user.id, oldHash: user.passwordHash, newHash: upgraded, changedAt: user.passwordChangedAt,
  })];
  if (await core.store.transact([...upgrade, step])) return { outcome: 'signed_in', user, issued };
  return login(core, { email, username, password }, device); // the hash was changed meanwhile: look again
}

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
