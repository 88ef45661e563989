import type { User } from '../store/users.ts';
import type { Core } from './core.ts';
import { heldFields } from './registrations.ts';

/** A user as a line of a file has it. */
export type UserLine = { line: number; user: User };
export type Imported = { imported: number; present: number; refused: { line: number; reason: string }[] };

/**
 * Adds the users whose identifiers are free, in one transaction. An account that is there already with the same identifiers is
 * left as it is, so that importing twice does no harm. With `dryRun` it writes nothing and tells what it would do.
 */
export async function importUsers({ store }: Pick<Core, 'store'>, lines: UserLine[], dryRun: boolean): Promise<Imported> {
  const counts = dryRun ? [] : await store.transact(lines.map(({ user }) => store.users.insertIfFree(user)));
  const result: Imported = { imported: 0, present: 0, refused: [] };
  for (const [index, { line, user }] of lines.entries()) {
    const holder = counts?.[index] ? 'imported' : await findHolder({ store }, user, dryRun);
    if (typeof holder === 'string') result[holder] += 1;
    else result.refused.push({ line, ...holder });
  }
  return result;
}

/** Whether an account has just these identifiers, or why they cannot be had. */
async function findHolder({ store }: Pick<Core, 'store'>, user: User, dryRun: boolean): Promise<'imported' | 'present' | { reason: string }> {
  const { email, usernameKey } = user;
  const holders = await store.users.findByIdentifier(email, usernameKey);
  if (holders.length === 0) return dryRun ? 'imported' : { reason: 'lost to a change at the same moment; import it again' };
  if (holders.some((holder) => (email === null || holder.email === email) && (usernameKey === null || holder.usernameKey === usernameKey))) return 'present';
  return { reason: `${heldFields(holders, user).join(' and ')}: taken by another account` };
}
