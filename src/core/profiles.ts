import type { Session } from '../store/sessions.ts';
import type { User } from '../store/users.ts';
import type { Core, MarkedDevice } from './core.ts';
import { normalizeEmail, usernameKey } from './identifiers.ts';
import { askMailbox, tellOwner } from './link-mails.ts';
import { findTaken } from './registrations.ts';
import { endExcessSessions, removeEndedSessions } from './session-limits.ts';
import type { LiveSession } from './sessions.ts';
import { confirmPassword, waitForMail } from './throttle.ts';

export type ProfileChange = { username?: string | undefined; email?: string | undefined; password: string };

export type Unconfirmed = { outcome: 'wrong' } | { outcome: 'throttled'; retryAfterMs: number };
export type UpdateProfileResult =
  /** `asked`: the new address counts once it is verified. `withdrawn`: a change that was asked for before is off */
  | { outcome: 'updated'; user: User; renamed: boolean; asked: boolean; withdrawn: boolean }
  | { outcome: 'taken'; fields: ('email' | 'username')[] }
  | Unconfirmed;

/**
 * Changes the username at once, and asks the mailbox of a new address, which is the account's once it is verified; the
 * present address is told of both. A change to another address that was asked for before ends; to ask for the present
 * address does no more than that. All of it or nothing, and nothing if the password was changed meanwhile. Where registering is quiet about
 * addresses that are taken, so is this (ASVS 6.3.8).
 */
export async function updateProfile(core: Core, { user, session }: LiveSession, change: ProfileChange, device: MarkedDevice): Promise<UpdateProfileResult> {
  const confirmed = await confirmPassword(core, user, session.id, change.password);
  if (confirmed.outcome !== 'right') return confirmed;
  const wanted = readChange(user, change);
  const { email, renaming } = wanted;
  const quiet = core.config.mail.requireVerification;
  const [holder] = email === null ? [] : await core.store.users.findByIdentifier(email, null);
  const counts = holder && !quiet ? null : await core.store.transact([
    core.store.users.keepPasswordHash(user),
    ...(change.email === undefined ? [] : [endOtherChanges(core, user, change.email)]),
    ...(renaming ? [core.store.users.rename({ id: user.id, ...renaming })] : []),
    ...(email === null ? [] : askMailbox(core, user, email, holder, device)),
    ...(email === null ? [] : await tellOwner(core, user, { template: 'email_change_requested', newEmail: email }, device)),
    ...(renaming ? await tellOwner(core, user, { template: 'username_changed', newUsername: renaming.username }, device) : []),
  ]);
  if (counts) {
    const withdrawn = change.email !== undefined && (counts[1] ?? 0) > 0;
    return { outcome: 'updated', user: { ...user, ...renaming }, renamed: renaming !== null, asked: email !== null, withdrawn };
  }
  const fields = await findTaken(core, { id: user.id, email: quiet ? null : email, usernameKey: renaming?.usernameKey ?? null });
  if (fields.length > 0) return { outcome: 'taken', fields };
  const now = await core.store.users.find(user.id);
  return now && now.passwordHash !== user.passwordHash ? updateProfile(core, { user: now, session }, change, device) : { outcome: 'throttled', retryAfterMs: await waitForMail(core, 'verify_email', email ?? '') };
}

function endOtherChanges(core: Core, user: User, email: string) {
  const present = user.email ?? '';
  return core.store.oneTimeTokens.endChanges({ userId: user.id, present, wanted: normalizeEmail(email), now: core.now() });
}

/** What would be different; null where nothing would. */
function readChange(user: User, { username, email }: ProfileChange) {
  const address = email === undefined ? null : normalizeEmail(email);
  return {
    email: address === user.email ? null : address,
    renaming: username === undefined || username === user.username ? null : { username, usernameKey: usernameKey(username) },
  };
}

/** Deletes the account with its sessions and tokens, unless its password was changed meanwhile; tells its address. */
export async function deleteAccount(core: Core, user: User, session: Pick<Session, 'id'>, password: string, device: MarkedDevice): Promise<{ outcome: 'deleted' } | Unconfirmed> {
  const confirmed = await confirmPassword(core, user, session.id, password);
  if (confirmed.outcome !== 'right') return confirmed;
  await endExcessSessions(core, user.id);
  await removeEndedSessions(core, user.id);
  const rows = await core.store.transact([
    core.store.users.remove(user),
    ...(await tellOwner(core, user, { template: 'account_deleted' }, device)),
  ]);
  const now = rows ? undefined : await core.store.users.find(user.id);
  return now ? deleteAccount(core, now, session, password, device) : { outcome: 'deleted' };
}
