import type { User } from '../store/users.ts';
import type { Core, Device } from './core.ts';
import { normalizeEmail, usernameKey } from './identifiers.ts';
import type { Credentials } from './registrations.ts';
import { type Issued, newSession } from './sessions.ts';

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
