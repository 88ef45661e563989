import type { User } from '../store/users.ts';
import type { Core, MarkedDevice } from './core.ts';
import { normalizeEmail, usernameKey } from './identifiers.ts';
import { askMailbox } from './link-mails.ts';
import { findPasswordFault } from './password-rules.ts';
import { randomId } from './refresh-tokens.ts';
import { endReplaced, judgeCookies, keepEnded, type Replaced } from './replaced-sessions.ts';
import { type Issued, newSession } from './sessions.ts';

export type Credentials = { email?: string | undefined; username?: string | undefined; password: string };

export type RegisterResult =
  /** `presented`: what became of the cookies that came along */
  | { outcome: 'registered'; user: User; issued: Issued; presented: Replaced }
  /** another account holds these identifiers */
  | { outcome: 'taken'; fields: ('email' | 'username')[] }
  | { outcome: 'weak_password'; fault: string };

/**
 * Makes an account and signs it in, in place of the sessions whose refresh cookies came along, in one transaction, which also
 * asks the mailbox of its address. An address that is to get no more mails for now is asked later, by a resend.
 */
export async function register(core: Core, credentials: Credentials, device: MarkedDevice, cookies: string[]): Promise<RegisterResult> {
  const fault = await findPasswordFault(core, credentials.password, credentials);
  if (fault) return { outcome: 'weak_password', fault };
  const user = { ...(await newUser(core, credentials)), lastSignedInAt: core.now() };
  const { step, issued } = newSession(core, user, device);
  const judged = await judgeCookies(core, cookies);
  const insertion = [core.store.users.insert(user), ...endReplaced(core, judged), step];
  const mail = user.email === null || !core.config.mail.enabled ? [] : askMailbox(core, user, user.email, undefined, device);
  let counts = await core.store.transact([...insertion, ...mail]);
  if (!counts && mail.length > 0 && (await findTaken(core, user)).length === 0) counts = await core.store.transact(insertion);
  if (!counts) return { outcome: 'taken', fields: await findTaken(core, user) };
  return { outcome: 'registered', user, issued, presented: keepEnded(judged, counts.slice(1)) };
}

async function newUser(core: Core, { email, username, password }: Credentials): Promise<User> {
  const now = core.now();
  return {
    id: randomId(),
    email: email === undefined ? null : normalizeEmail(email),
    username: username ?? null,
    usernameKey: username === undefined ? null : usernameKey(username),
    passwordHash: await core.passwords.hash(password),
    roles: '',
    emailVerifiedAt: null,
    passwordChangedAt: now,
    createdAt: now,
    lastSignedInAt: null,
    verifyBy: null,
  };
}

/** Which identifiers of the user another account holds. */
export async function findTaken(core: Core, user: Pick<User, 'id' | 'email' | 'usernameKey'>): Promise<('email' | 'username')[]> {
  const holders = await core.store.users.findByIdentifier(user.email, user.usernameKey);
  return heldFields(holders.filter(({ id }) => id !== user.id), user);
}

/** Which identifiers of the user one of the accounts has. */
export function heldFields(accounts: User[], user: Pick<User, 'email' | 'usernameKey'>): ('email' | 'username')[] {
  return (['email', 'username'] as const).filter((field) => {
    const key = field === 'email' ? 'email' : 'usernameKey';
    return user[key] !== null && accounts.some((account) => account[key] === user[key]);
  });
}

/** An account that is not verified is deleted so long after its first link has expired, unless a later link still works. */
export const UNVERIFIED_KEPT_MS = 7 * 86_400_000;

export type QuietRegisterResult =
  /**
   * `userId` is null if nothing was written, because the address is to get no more mails for now. `newId` is that of the
   * account that was made, or would have been.
   */
  | { outcome: 'registered' | 'already_registered'; userId: string | null; newId: string }
  | { outcome: 'taken'; fields: ['username'] }
  | { outcome: 'weak_password'; fault: string };

/**
 * Makes an account that is of use once its address is verified, or tells the owner of the address that there is one, who gets
 * a link to choose a new password: so an account that a stranger made becomes the owner's. Both are the same work, and neither
 * leaves a trace for who asked (ASVS 6.3.8): until then the account signs nobody in and does not hold its username.
 */
export async function registerQuietly(core: Core, credentials: Credentials & { email: string }, device: MarkedDevice): Promise<QuietRegisterResult> {
  const fault = await findPasswordFault(core, credentials.password, credentials);
  if (fault) return { outcome: 'weak_password', fault };
  const user = await newUser(core, credentials);
  if ((await findTaken(core, { ...user, email: null })).length > 0) return { outcome: 'taken', fields: ['username'] };
  const verifyBy = user.createdAt + core.config.mail.verificationMs + UNVERIFIED_KEPT_MS;
  return insertOrTell(core, { ...user, usernameKey: null, email: normalizeEmail(credentials.email), verifyBy }, device);
}

async function insertOrTell(core: Core, user: User & { email: string }, device: MarkedDevice): Promise<QuietRegisterResult> {
  const { users } = core.store;
  const [holder] = await users.findByIdentifier(user.email, null);
  const rows = await core.store.transact([holder ? users.insertIfFree(user) : users.insert(user), ...askMailbox(core, user, user.email, holder, device)]);
  const newId = user.id;
  if (rows && holder) return { outcome: 'already_registered', userId: holder.id, newId };
  if (rows) return { outcome: 'registered', userId: newId, newId };
  const [present] = await users.findByIdentifier(user.email, null);
  if (present && !holder) return insertOrTell(core, user, device); // another was quicker
  return { outcome: holder ? 'already_registered' : 'registered', userId: null, newId };
}
