import type { User } from '../store/users.ts';
import type { Core, MarkedDevice } from './core.ts';
import { normalizeEmail, usernameKey } from './identifiers.ts';
import { findLink, findMailedLink, newLink } from './link-mails.ts';
import { queueMail } from './mails.ts';
import { hashOneTimeToken } from './one-time-tokens.ts';
import { findPasswordFault } from './password-rules.ts';
import { endExcessSessions } from './session-limits.ts';
import { forgetAttempts, takeMail, takeMailOfReader } from './throttle.ts';

/** The token is of no use when nothing is mailed: the address has no account, or is to get no more mails for now. */
export type ResetRequest = { userId: string | null; mailed: boolean; token: string };

/**
 * Mails a link to choose a new password to the address of an account; does the same work for any other (ASVS 6.3.8).
 * Older links stay as they are. While the address is to get no more mails, nothing is written.
 */
export async function requestReset(core: Core, email: string, device: MarkedDevice): Promise<ResetRequest> {
  const to = normalizeEmail(email);
  const [user] = await core.store.users.findByIdentifier(to, null);
  const link = newLink(core, 'reset_password', to, user);
  const rows = await core.store.transact([
    ...takeMail(core, 'reset_password', to, device, user),
    link.step,
    queueMail(core, user ? { template: 'reset_password', to, ...link } : { template: 'decoy' }),
  ]);
  return { userId: user?.id ?? null, mailed: user !== undefined && rows !== null, token: link.token.token };
}

/**
 * Mails a new link to the address to which an older one was mailed, also when that has expired. Its token shows that the
 * mailbox is read, so that no stranger's request counts against this one. Null for a token that is unknown or was used,
 * or that went to an address which the account no longer has.
 */
export async function renewReset(core: Core, token: string): Promise<ResetRequest | null> {
  const older = await findMailedLink(core, 'reset_password', token);
  if (!older) return null;
  const { user, token: { email: to } } = older;
  const link = newLink(core, 'reset_password', to, user);
  const rows = await core.store.transact([
    ...takeMailOfReader(core, 'reset_password', to),
    link.step,
    queueMail(core, { template: 'reset_password', to, ...link }),
  ]);
  return { userId: user.id, mailed: rows !== null, token: link.token.token };
}

export type ResetResult =
  /** `user` as it is now, for the device cookie: whoever reads the mailbox is no stranger, however many guesses strangers make */
  | { outcome: 'changed'; user: User; ended: number }
  /** unknown, used, expired, ended by a change of the account, or of another purpose */
  | { outcome: 'link_invalid' }
  | { outcome: 'weak_password'; fault: string };

/**
 * Replaces the password, holding a token that was mailed. In one transaction the token is used up, every session and every
 * other token of the user ends, and the address, which the mail has reached, is verified; of many at once exactly one wins
 * (ASVS 6.4.1). A password that breaks a rule leaves the token as it is.
 */
export async function resetPassword(core: Core, token: string, newPassword: string): Promise<ResetResult> {
  const link = await findLink(core, 'reset_password', token);
  if (!link) return { outcome: 'link_invalid' };
  const fault = await findPasswordFault(core, newPassword, link.user);
  if (fault) return { outcome: 'weak_password', fault };
  return useLink(core, token, link.user, await core.passwords.hash(newPassword));
}

async function useLink(core: Core, token: string, user: User, newHash: string): Promise<ResetResult> {
  const { id, passwordHash } = user;
  const surplus = await endExcessSessions(core, id);
  const now = core.now();
  const email = user.email as string; // a user with a link has one
  const counts = await core.store.transact([
    core.store.users.replacePasswordHash({ id, oldHash: passwordHash, newHash, changedAt: now }),
    core.store.sessions.revokeAll({ userId: id, reason: 'password_reset', now }),
    core.store.users.verifyEmail({ id, email, usernameKey: user.username && usernameKey(user.username), now }),
    core.store.oneTimeTokens.consume(hashOneTimeToken(token), 'reset_password', now),
    core.store.oneTimeTokens.endAll(id, now),
    ...forgetAttempts(core, user),
    ...(core.config.mail.enabled ? [queueMail(core, { template: 'password_changed', to: email })] : []),
  ]);
  if (counts) return { outcome: 'changed', user: { ...user, passwordHash: newHash, passwordChangedAt: now, emailVerifiedAt: now }, ended: surplus + (counts[1] ?? 0) };
  const link = await findLink(core, 'reset_password', token); // used, or the hash was changed meanwhile: look again
  return link ? useLink(core, token, link.user, newHash) : { outcome: 'link_invalid' };
}
