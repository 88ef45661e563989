import type { Step } from '../store/db.ts';
import type { User } from '../store/users.ts';
import type { Core, MarkedDevice } from './core.ts';
import { normalizeEmail, usernameKey } from './identifiers.ts';
import { askMailbox, findLink, newLink, tellOwner } from './link-mails.ts';
import { queueMail } from './mails.ts';
import { hashOneTimeToken } from './one-time-tokens.ts';
import { isRegistrant } from './registrants.ts';
import { mustVerify } from './sign-ins.ts';
import { attemptAt, forgetAttempts, takeMail } from './throttle.ts';

export type VerifyEmailResult =
  /** `changed`: the account had another address, or none, before */
  | { outcome: 'verified'; userId: string; changed: boolean }
  /** unknown, used, expired, ended by a change of the account, or of another purpose */
  | { outcome: 'link_invalid' }
  /** another account has the address meanwhile; the token is not used up */
  | { outcome: 'taken' }
  | Unproven;

/** That who uses the link also registered the account was not shown; the token is not used up. */
type Unproven =
  | { outcome: 'password_required'; userId: string }
  | { outcome: 'wrong'; userId: string }
  /** the password was not looked at, because too many were wrong */
  | { outcome: 'throttled'; userId: string; retryAfterMs: number };

/** What shows that who uses a link also registered the account: the password, or the cookie of that browser. */
export type RegistrantProof = { password?: string | undefined; marks: string[] };

/**
 * Gives the account the address to which the token was mailed, verified; of many at once exactly one wins (ASVS 6.4.1). A
 * change of the address ends the account's other tokens, which went to the old one, and tells that one. An account that is
 * of no use before it is verified asks for a proof, too: otherwise whoever registered another's address would get the
 * account by the owner's click.
 */
export async function verifyEmail(core: Core, token: string, proof: RegistrantProof, device: MarkedDevice): Promise<VerifyEmailResult> {
  const link = await findLink(core, 'verify_email', token);
  if (!link) return { outcome: 'link_invalid' };
  const { user, token: { email } } = link;
  const unproven = await findMissingProof(core, user, proof);
  if (unproven) return unproven;
  const changed = email !== user.email;
  const now = core.now();
  const rows = await core.store.transact([
    core.store.users.verifyEmail({ id: user.id, email, usernameKey: user.username && usernameKey(user.username), now }),
    core.store.oneTimeTokens.consume(hashOneTimeToken(token), 'verify_email', now),
    ...forgetAttempts(core, { ...user, email }),
    ...(changed ? [core.store.oneTimeTokens.endAll(user.id, now), ...(await tellOwner(core, user, { template: 'email_changed', newEmail: email }, device))] : []),
  ]);
  if (rows) return { outcome: 'verified', userId: user.id, changed };
  const [holder] = await core.store.users.findByIdentifier(email, null);
  return holder && holder.id !== user.id ? { outcome: 'taken' } : verifyEmail(core, token, proof, device); // used meanwhile: look again
}

/** Whether a link of this account, used in the browser with these marks, verifies the address only with the password. */
export function needsPassword(core: Core, user: User, marks: string[]): boolean {
  return mustVerify(core, user) && !isRegistrant(core, marks, user.id);
}

/** Wrong passwords are counted by account, apart from those of sign-ins: only who has a link can use them up. */
async function findMissingProof(core: Core, user: User, { password, marks }: RegistrantProof): Promise<Unproven | null> {
  if (!needsPassword(core, user, marks)) return null;
  const userId = user.id;
  if (password === undefined) return { outcome: 'password_required', userId };
  const tried = await attemptAt(core, 'link', userId, user, password);
  return tried.outcome === 'right' ? null : { ...tried, userId };
}

/** Whether the account may be deleted by who reads its mailbox: it had to be verified first, was not, and never signed in. */
export function isDisownable({ verifyBy, emailVerifiedAt, lastSignedInAt }: User): boolean {
  return verifyBy !== null && emailVerifiedAt === null && lastSignedInAt === null;
}

/** Deletes an account that somebody else registered with the address of who reads this mail. Null if the link is no such. */
export async function disownAccount(core: Core, token: string): Promise<{ userId: string } | null> {
  const link = await findLink(core, 'verify_email', token);
  if (!link || !isDisownable(link.user)) return null;
  const rows = await core.store.transact([
    core.store.oneTimeTokens.consume(hashOneTimeToken(token), 'verify_email', core.now()),
    core.store.users.remove(link.user),
  ]);
  return rows ? { userId: link.user.id } : disownAccount(core, token); // used, or the hash was changed meanwhile: look again
}

/** Nothing is mailed to an address that needs no verification, or is to get no more mails for now. */
export type VerificationRequest = { userId: string | null; mailed: boolean };

/**
 * Mails another link to an address that an account has and has not verified; does the same work for any other address
 * (ASVS 6.3.8). Older links stay as they are, and so does a change to another address.
 */
export async function resendVerification(core: Core, email: string, device: MarkedDevice): Promise<VerificationRequest> {
  const to = normalizeEmail(email);
  const [user] = await core.store.users.findByIdentifier(to, null);
  const unverified = user?.emailVerifiedAt === null ? user : undefined;
  const link = newLink(core, 'verify_email', to, unverified);
  const rows = await core.store.transact([
    ...takeMail(core, 'verify_email', to, device, undefined),
    link.step,
    queueMail(core, unverified ? { template: 'verify_email', to, ...link } : { template: 'decoy' }),
  ]);
  return { userId: user?.id ?? null, mailed: unverified !== undefined && rows !== null };
}

/**
 * Mails another link to the address that the user wants to change to, or else to the account's own, if that is not
 * verified. Older links stay as they are.
 */
export async function resendOwnVerification(core: Core, user: User, device: MarkedDevice): Promise<VerificationRequest> {
  const { oneTimeTokens, users, transact } = core.store;
  const now = core.now();
  const pending = (await oneTimeTokens.findOf(user.id, 'verify_email', now)).find((token) => token.email !== user.email);
  const email = pending?.email ?? (user.emailVerifiedAt === null ? user.email : null);
  if (email === null) return { userId: user.id, mailed: false };
  const [holder] = await users.findByIdentifier(email, null);
  const stillPending: Step[] = pending ? [oneTimeTokens.keep(pending.tokenHash, 'verify_email', now)] : [];
  const rows = await transact([...stillPending, ...askMailbox(core, user, email, holder, device)]);
  return { userId: user.id, mailed: rows !== null };
}
