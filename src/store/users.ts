import { and, eq, or, sql } from 'drizzle-orm';
import type { Db, Step } from './db.ts';

export type User = Db['schema']['users']['$inferSelect'];

/** Statements on accounts. Identifiers come in normalised: e-mail in lower case, usernames as their key. */
export function userStatements(db: Db) {
  const { users } = db.schema;
  const at = sql.placeholder;

  const insert = db.prepare('insert_user', (query) => query.insert(users).values({
    id: at('id'), email: at('email'), username: at('username'), usernameKey: at('usernameKey'),
    passwordHash: at('passwordHash'), roles: at('roles'), emailVerifiedAt: at('emailVerifiedAt'),
    passwordChangedAt: at('passwordChangedAt'), createdAt: at('createdAt'),
  }).onConflictDoNothing().returning({ id: users.id }));

  const byIdentifier = db.prepare('user_by_identifier', (query) => query.select().from(users)
    .where(or(eq(users.email, at('email')), eq(users.usernameKey, at('usernameKey')))));

  const byId = db.prepare('user_by_id', (query) => query.select().from(users).where(eq(users.id, at('id'))));

  const replacePasswordHash = db.prepare('replace_password_hash', (query) => query.update(users)
    .set({ passwordHash: sql`${at('newHash')}`, passwordChangedAt: sql`${at('changedAt')}` })
    .where(and(eq(users.id, at('id')), eq(users.passwordHash, at('oldHash')))).returning({ id: users.id }));

  return {
    /** Adds the user, unless an identifier is taken; then the transaction is undone. */
    insert: (user: User): Step => ({ statement: insert, values: user, must: true }),

    /** The accounts that hold one of the two identifiers; null matches none. */
    findByIdentifier: (email: string | null, usernameKey: string | null): Promise<User[]> =>
      db.read(byIdentifier, { email, usernameKey }),

    find: async (id: string): Promise<User | undefined> => (await db.read(byId, { id }))[0],

    /** Compare-and-swap: replaces the hash that was verified, and nothing else; otherwise the transaction is undone. */
    replacePasswordHash: (change: { id: string; oldHash: string; newHash: string; changedAt: number }): Step =>
      ({ statement: replacePasswordHash, values: change, must: true }),
  };
}
