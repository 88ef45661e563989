import type { User } from '../store/users.ts';
import type { Core, Device } from './core.ts';
import { normalizeEmail, usernameKey } from './identifiers.ts';
import { findPasswordFault } from './passwords.ts';
import { randomId } from './refresh-tokens.ts';
import { type Issued, newSession } from './sessions.ts';

export type Credentials = { email?: string | undefined; username?: string | undefined; password: string };

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
