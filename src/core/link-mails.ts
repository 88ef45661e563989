import type { Step } from '../store/db.ts';
import type { Purpose } from '../store/one-time-tokens.ts';
import type { User } from '../store/users.ts';
import type { Core, MarkedDevice } from './core.ts';
import { queueMail } from './mails.ts';
import { hashOneTimeToken, newOneTimeToken } from './one-time-tokens.ts';
import { randomId } from './refresh-tokens.ts';
import { takeMail } from './throttle.ts';

/**
 * An expired link can still ask for another mail for so long. It is more than the longest pause between two mails to one
 * address (a day), so that a mailbox which strangers have flooded always holds a link that leads on.
 */
export const EXPIRED_LINK_KEPT_MS = 7 * 86_400_000;

/** A new link. The user's older ones stay as they are. Without a user the same statement runs, and adds nothing. */
export function newLink(core: Core, purpose: Purpose, email: string, user: Pick<User, 'id'> | undefined) {
  const token = newOneTimeToken(core);
  const now = core.now();
  const { resetMs, verificationMs } = core.config.mail;
  const expiresAt = now + (purpose === 'reset_password' ? resetMs : verificationMs);
  const step = core.store.oneTimeTokens.issue({ userId: user?.id ?? randomId(), purpose, tokenHash: token.tokenHash, email, now, expiresAt });
  return { token, expiresAt, step };
}

/** The usable token and its user; undefined for one that is unknown, used, expired, ended or of another purpose. */
export async function findLink(core: Core, purpose: Purpose, token: string) {
  const link = await findMailedLink(core, purpose, token);
  return link && !link.expired ? link : undefined;
}

/**
 * A token that was mailed and not used, and its user; also an expired one, for EXPIRED_LINK_KEPT_MS. One for a new password
 * counts only while the account has the address that it went to: it may have been written while the address changed.
 */
export async function findMailedLink(core: Core, purpose: Purpose, token: string) {
  const link = await core.store.oneTimeTokens.find(hashOneTimeToken(token), purpose);
  if (!link || (purpose === 'reset_password' && link.token.email !== link.user.email)) return undefined;
  return { ...link, expired: link.token.expiresAt <= core.now() };
}

/**
 * Asks the mailbox of an address whether it is the user's. If it is another account's, that one's owner is told instead, with a
 * link to choose a new password; all else is the same, so that who asks learns nothing (ASVS 6.3.8). The transaction is undone
 * while the address is to get no more mails.
 */
export function askMailbox(core: Core, user: Pick<User, 'id'>, email: string, holder: User | undefined, device: MarkedDevice): Step[] {
  const owner = holder?.id === user.id ? undefined : holder;
  const verification = newLink(core, 'verify_email', email, user);
  const reset = newLink(core, 'reset_password', email, owner);
  return [
    ...takeMail(core, 'verify_email', email, device, undefined),
    verification.step,
    reset.step,
    queueMail(core, owner ? { template: 'already_registered', to: email, ...reset } : { template: 'verify_email', to: email, ...verification }),
  ];
}

type Notice =
  | { template: 'password_changed' | 'account_deleted' }
  | { template: 'username_changed'; newUsername: string }
  | { template: 'email_change_requested' | 'email_changed'; newEmail: string };

/**
 * Tells the account's address what was done with it (ASVS 6.3.7), as steps of the transaction that does it. An address that was
 * never verified may be a stranger's: it gets no more mails than other addresses, and neither address nor name of the user.
 */
export async function tellOwner(core: Core, { email, emailVerifiedAt }: User, notice: Notice, device: MarkedDevice): Promise<Step[]> {
  if (email === null || !core.config.mail.enabled) return [];
  if (emailVerifiedAt !== null) return [queueMail(core, { ...notice, to: email })];
  const mayGo = await core.store.transact(takeMail(core, 'verify_email', email, device, undefined));
  if (!mayGo) return [];
  return [queueMail(core, { ...hideWhoItIs(notice), to: email })];
}

function hideWhoItIs(notice: Notice): Notice {
  if ('newEmail' in notice) return { ...notice, newEmail: hideAddress(notice.newEmail) };
  return 'newUsername' in notice ? { ...notice, newUsername: `${notice.newUsername.slice(0, 1)}…` } : notice;
}

/** `j…@example.com` */
function hideAddress(email: string): string {
  return `${email.slice(0, 1)}…${email.slice(email.lastIndexOf('@'))}`;
}
