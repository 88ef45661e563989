import type { Step } from '../store/db.ts';
import type { User } from '../store/users.ts';
import type { Core, MarkedDevice } from './core.ts';
import { findMark } from './devices.ts';
import { normalizeEmail, usernameKey } from './identifiers.ts';
import type { Credentials } from './registrations.ts';
import { endReplaced, judgeCookies, keepEnded, type Replaced } from './replaced-sessions.ts';
import { endExcessSessions } from './session-limits.ts';
import { type Issued, newSession } from './sessions.ts';
import { attempt, type Bucket, bucketKeys, chooseBucket } from './throttle.ts';

export type LoginResult =
  /** `limited`: how many sessions ended because the user had too many; `presented`: what became of the cookies that came along */
  | { outcome: 'signed_in'; user: User; issued: Issued; limited: number; presented: Replaced }
  /** wrong password, no such account, or one whose address has to be verified first: the same answer after the same work (ASVS 6.3.8) */
  | { outcome: 'refused'; userId: string | null; unverified: boolean }
  /** too many were wrong before, whether there is such an account or not */
  | { outcome: 'throttled'; userId: string | null; retryAfterMs: number };

/**
 * Checks the password and begins a session, in place of those whose refresh cookies came along. A hash of another cost than
 * the configured one is replaced on the way. A sign-in that fails changes no session.
 */
export async function login(core: Core, credentials: Credentials, device: MarkedDevice, cookies: string[]): Promise<LoginResult> {
  const { name, user, bucket } = await findAccount(core, credentials, device);
  const unverified = user !== undefined && mustVerify(core, user);
  const tried = await attempt(core, bucket, async () => (await core.passwords.verify(credentials.password, user?.passwordHash, name)) && !unverified);
  if (tried.outcome === 'throttled') return { ...tried, userId: user?.id ?? null };
  if (!user || tried.outcome === 'wrong') return { outcome: 'refused', userId: user?.id ?? null, unverified };
  const upgraded = await hashAnew(core, user, credentials.password);
  const begun = await beginSession(core, user, upgraded ?? user.passwordHash, device, await judgeCookies(core, cookies));
  if (begun) return { outcome: 'signed_in', user, ...begun };
  return login(core, credentials, device, cookies); // the hash was changed meanwhile: look again
}

/**
 * Begins a session, in one transaction with all that goes with it; null, and nothing is written, if the password was changed
 * meanwhile. A user who has SESSIONS_PER_USER sessions loses the least recently used one.
 */
async function beginSession(core: Core, user: User, newHash: string, device: MarkedDevice, judged: Replaced) {
  const { users, sessions } = core.store;
  const { step, issued } = newSession(core, user, device);
  const signIn = users.signIn({ id: user.id, verifiedHash: user.passwordHash, newHash, now: core.now() });
  const replacing = endReplaced(core, judged);
  const begin = (...makeRoom: Step[]) => core.store.transact([signIn, ...replacing, ...makeRoom, step]);
  const done = (counts: number[], limited: number) => ({ issued, limited, presented: keepEnded(judged, counts.slice(1)) });
  const simple = await begin();
  if (simple) return done(simple, 0);
  const surplus = await endExcessSessions(core, user.id);
  const counts = await begin(sessions.revokeExcess({ userId: user.id, keptId: '', kept: core.config.sessionsPerUser - 1, now: core.now() }));
  return counts && done(counts, surplus + (counts.at(-2) ?? 0));
}

/**
 * Whether the account is of no use yet. Were a right password told apart here, whoever signs up with an address and then in
 * would learn whether it was free. An account without an address comes from an import, and is of use.
 */
export function mustVerify({ config }: Pick<Core, 'config'>, { email, emailVerifiedAt }: User): boolean {
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
  const strangers = bucketKeys(core, identifier.email === null ? 'username' : 'email', name);
  const keyOf = new Map(marks.map((mark) => [mark, bucketKeys(core, 'device', mark.id)]));
  const { user, throttles } = await core.store.users.findForSignIn({ ...identifier, throttleKeys: [strangers, ...keyOf.values()].flat() });
  const mark = findMark(core, marks, user);
  return { name, user, bucket: chooseBucket((mark && keyOf.get(mark)) ?? strangers, throttles) };
}
