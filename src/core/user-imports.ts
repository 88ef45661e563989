import pLimit from 'p-limit';
import type { User } from '../store/users.ts';
import type { Core } from './core.ts';
import { heldFields } from './registrations.ts';
import { needsWrap } from './stored-hashes.ts';

/** A user as a line of a file has it. */
export type UserLine = { line: number; user: User };
export type Imported = { imported: number; present: number; refused: { line: number; reason: string }[] };

/** What an import needs; `wrap` puts the hash of another system inside argon2id. */
type Importer = Pick<Core, 'store'> & { wrap: (oldHash: string) => Promise<string> };
/** Whether an account has just these identifiers, or why they cannot be had; null: they are free. */
type Holder = 'present' | { reason: string } | null;

const LOOKED_UP_AT_ONCE = 10;
const LOST = 'lost to a change at the same moment; import it again';

/**
 * Adds the users whose identifiers are free, in one transaction. An account that is there already with the same
 * identifiers is left as it is, so that importing twice does no harm and computes no hash. With `dryRun` it writes
 * nothing and tells what it would do.
 */
export async function importUsers(importer: Importer, lines: UserLine[], dryRun: boolean): Promise<Imported> {
  const result: Imported = { imported: 0, present: 0, refused: [] };
  const holders = await pLimit(LOOKED_UP_AT_ONCE).map(lines, async ({ user }) => (
    dryRun || needsWrap(user.passwordHash) ? findHolder(importer, user) : null
  ));
  const free = lines.filter((_line, index) => holders[index] === null);
  const added = dryRun ? free.map(() => true) : await insertFree(importer, free);
  const wasAdded = new Map(free.map(({ line }, index) => [line, added[index] === true]));
  for (const [index, { line, user }] of lines.entries()) {
    const holder = wasAdded.get(line) ? 'imported'
      : holders[index] ?? await findHolder(importer, user) ?? { reason: LOST };
    if (typeof holder === 'string') result[holder] += 1;
    else result.refused.push({ line, ...holder });
  }
  return result;
}

/** Which of them were added. */
async function insertFree({ store, wrap }: Importer, lines: UserLine[]): Promise<boolean[]> {
  const users = await Promise.all(lines.map(async ({ user }) => (
    needsWrap(user.passwordHash) ? { ...user, passwordHash: await wrap(user.passwordHash) } : user
  )));
  const counts = await store.transact(users.map((user) => store.users.insertIfFree(user)));
  return users.map((_user, index) => (counts?.[index] ?? 0) > 0);
}

async function findHolder({ store }: Pick<Core, 'store'>, user: User): Promise<Holder> {
  const { email, usernameKey } = user;
  const holders = await store.users.findByIdentifier(email, usernameKey);
  if (holders.length === 0) return null;
  const isSame = (holder: User) => (email === null || holder.email === email)
    && (usernameKey === null || holder.usernameKey === usernameKey);
  if (holders.some(isSame)) return 'present';
  return { reason: `${heldFields(holders, user).join(' and ')}: taken by another account` };
}
