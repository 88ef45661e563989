import type { Step } from '../store/db.ts';
import type { Core } from './core.ts';
import type { NewOneTimeToken } from './one-time-tokens.ts';
import { randomId } from './refresh-tokens.ts';

const NOTICE_MS = 3 * 86_400_000;

/** A mail to be sent, as a step of the transaction that causes it. It holds no secret: the token of its link is made when it is sent. */
export type NewMail =
  | { template: 'verify_email' | 'reset_password' | 'already_registered'; to: string; token: NewOneTimeToken; expiresAt: number }
  | { template: 'password_changed' | 'account_deleted'; to: string }
  | { template: 'username_changed'; to: string; newUsername: string }
  /** told to the old address */
  | { template: 'email_change_requested' | 'email_changed'; to: string; newEmail: string }
  /** does nothing, and takes as long as one that is sent: for addresses that have no account */
  | { template: 'decoy' };

/** Puts the mail into the outbox, when the transaction is committed. A link's mail is given up when the link has expired. */
export function queueMail(core: Core, mail: NewMail): Step {
  const now = core.now();
  const token = 'token' in mail ? mail.token : null;
  return core.store.mails.insert({
    id: randomId(),
    template: mail.template,
    recipient: 'to' in mail ? mail.to : '',
    data: JSON.stringify(dataOf(mail)),
    tokenSeed: token?.seed ?? null,
    keyId: token?.keyId ?? null,
    expiresAt: 'expiresAt' in mail ? mail.expiresAt : now + NOTICE_MS,
    createdAt: now,
  });
}

/** What the template is filled with, beside the address and the link. */
function dataOf(mail: NewMail): { newEmail?: string; newUsername?: string } {
  if ('newEmail' in mail) return { newEmail: mail.newEmail };
  return 'newUsername' in mail ? { newUsername: mail.newUsername } : {};
}
