import type { User } from '../store/users.ts';
import type { Core, MarkedDevice } from './core.ts';
import { findMark } from './devices.ts';
import { normalizeEmail, usernameKey } from './identifiers.ts';
import type { Credentials } from './registrations.ts';
import { type Issued, newSession } from './sessions.ts';
import { attempt, type Bucket, bucketKey } from './throttle.ts';

export type LoginResult =
  | { outcome: 'signed_in'; user: User; issued: Issued }
  /** wrong password, no such account, or one whose address has to be verified first: the same answer after the same work (ASVS 6.3.8) */
  | { outcome: 'refused'; userId: string | null; unverified: boolean }
  /** too many were wrong before, whether there is such an account or not */
  | { outcome: 'throttled'; userId: string | null; retryAfterMs: number };

/** Checks the password and begins a session. A hash of another cost than the configured one is replaced on the way. */
export async function login(core: Core, credentials: Credentials, device: MarkedDevice): Promise<LoginResult> {
  const { name, user, bucket } = await findAccount(core, credentials, device);
  const unverified = user !== undefined && mustVerify(core, user);
  const tried = await attempt(core, bucket, async () => (await core.passwords.verify(credentials.password, user?.passwordHash, name)) && !unverified);
  if (tried.outcome === 'throttled') return { ...tried, userId: user?.id ?? null };
  if (!user || tried.outcome === 'wrong') return { outcome: 'refused', userId: user?.id ?? null, unverified };
  const upgraded = await hashAnew(core, user, credentials.password);
  const { step, issued } = newSession(core, { ...user, passwordHash: upgraded ?? user.passwordHash }, device);
  const upgrade = upgraded === null ? [] : [core.store.users.replacePasswordHash({
    id: user.id, oldHash: user.passwordHash, newHash: upgraded, changedAt: user.passwordChangedAt,
  })];
  if (await core.store.transact([...upgrade, step])) return { outcome: 'signed_in', user, issued };
  return login(core, credentials, device); // the hash was changed meanwhile: look again
}

/**
 * Whether the account is of no use yet. Were a right password told apart here, whoever signs up with an address and then in
 * would learn whether it was free. An account without an address comes from an import, and is of use.
 */
function mustVerify({ config }: Core, { email, emailVerifiedAt }: User): boolean {
  return config.mail.requireVerification && email !== null && emailVerifiedAt === null;
}

/** The password's hash at the configured cost, if the stored one is another; while too many hashes wait, the next sign-in will do. */
async function hashAnew(core: Core, { passwordHash }: User, password: string): Promise<string | null> {
  return core.passwords.isOutdated(passwordHash) && core.passwords.hasRoom() ? core.passwords.hash(password) : null;
}

/** The account of the identifier; and the device's own bucket if the device is known to it, or else that of the identifier, for all strangers. */
async function findAccount(core: Core, { email, username }: Credentials, { marks }: MarkedDevice): Promise<{ name: string; user: User | undefined; bucket: Bucket }> {
  const identifier = {
    email: email === undefined ? null : normalizeEmail(email),
    usernameKey: username === undefined ? null : usernameKey(username),
  };
  const name = identifier.email ?? identifier.usernameKey ?? '';
  const strangers = bucketKey(core, identifier.email === null ? 'username' : 'email', name);
  const keyOf = new Map(marks.map((mark) => [mark, bucketKey(core, 'device', mark.id)]));
  const { user, throttles } = await core.store.users.findForSignIn({ ...identifier, throttleKeys: [strangers, ...keyOf.values()] });
  const mark = findMark(core, marks, user);
  const key = (mark && keyOf.get(mark)) ?? strangers;
  return { name, user, bucket: { key, counted: throttles.find((each) => each.key === key) } };
}
