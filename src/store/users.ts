import { and, eq, gt, inArray, isNull, lte, sql } from './drizzle.ts';
import { type Db, PURGED_AT_ONCE, type QueryBuilder, type Step, textAt } from './db.ts';
import type { Throttle } from './throttles.ts';

export type User = Db['schema']['users']['$inferSelect'];

/** Two names for the identifier, and for each of four devices. */
export const MAX_THROTTLE_KEYS = 10;
const KEY_NAMES = Array.from({ length: MAX_THROTTLE_KEYS }, (_, index) => `throttleKey${index}`);

/** Statements on accounts. Identifiers come in normalised: e-mail in lower case, usernames as their key. */
export function userStatements(db: Db) {
  const { users, throttles } = db.schema;
  const at = sql.placeholder;

  const insert = db.prepare('insert_user', (query) => query.insert(users).values({
    id: at('id'), email: at('email'), username: at('username'), usernameKey: at('usernameKey'),
    passwordHash: at('passwordHash'), roles: at('roles'), emailVerifiedAt: at('emailVerifiedAt'),
    passwordChangedAt: at('passwordChangedAt'), createdAt: at('createdAt'),
    lastSignedInAt: at('lastSignedInAt'), verifyBy: at('verifyBy'),
  }).onConflictDoNothing().returning({ id: users.id }));

  // Each identifier is looked up by itself, in one table by one unique column. One condition on both columns would have SQLite
  // read all users, once its statistics say that nobody has a username.
  const holdsIdentifier = (query: QueryBuilder) => inArray(users.id,
    query.select({ id: users.id }).from(users).where(eq(users.email, textAt('email')))
      .unionAll(query.select({ id: users.id }).from(users).where(eq(users.usernameKey, textAt('usernameKey')))));

  const byIdentifier = db.prepare('user_by_identifier', (query) => query.select().from(users).where(holdsIdentifier(query)));

  const forSignIn = db.prepare('user_for_sign_in', (query) => query.select({ user: users, throttle: throttles }).from(sql`(SELECT 1) AS once`)
    .leftJoin(users, holdsIdentifier(query))
    .leftJoin(throttles, inArray(throttles.key, KEY_NAMES.map((name) => at(name)))));

  const hashes = db.prepare('list_hashes', (query) => query.select({ id: users.id, passwordHash: users.passwordHash }).from(users)
    .where(gt(users.id, at('after'))).orderBy(users.id).limit(at('limit')));

  const byId = db.prepare('user_by_id', (query) => query.select().from(users).where(eq(users.id, at('id'))));

  const replacePasswordHash = db.prepare('replace_password_hash', (query) => query.update(users)
    .set({ passwordHash: sql`${at('newHash')}`, passwordChangedAt: sql`${at('changedAt')}` })
    .where(and(eq(users.id, at('id')), eq(users.passwordHash, at('oldHash')))).returning({ id: users.id }));

  const signIn = db.prepare('sign_in_user', (query) => query.update(users)
    .set({ lastSignedInAt: sql`${at('now')}`, passwordHash: sql`${at('newHash')}` })
    .where(and(eq(users.id, at('id')), eq(users.passwordHash, at('verifiedHash')))).returning({ id: users.id }));

  const rename = db.prepare('rename_user', (query) => query.update(users)
    .set({ username: sql`${at('username')}`, usernameKey: sql`${at('usernameKey')}` }).where(eq(users.id, at('id'))).returning({ id: users.id }));

  const isHeld = sql`EXISTS (SELECT 1 FROM users AS holder WHERE holder.username_key = ${at('usernameKey')})`;
  const verifyEmail = db.prepare('verify_email', (query) => query.update(users).set({
    email: sql`${at('email')}`,
    emailVerifiedAt: sql`${at('now')}`,
    verifyBy: sql`NULL`,
    username: sql`CASE WHEN ${users.usernameKey} IS NULL AND ${isHeld} THEN NULL ELSE ${users.username} END`,
    usernameKey: sql`COALESCE(${users.usernameKey}, CASE WHEN NOT ${isHeld} THEN ${at('usernameKey')} END)`,
  }).where(eq(users.id, at('id'))).returning({ id: users.id }));

  const remove = db.prepare('delete_user', (query) => query.delete(users)
    .where(and(eq(users.id, at('id')), eq(users.passwordHash, at('passwordHash')))).returning({ id: users.id }));

  const { oneTimeTokens } = db.schema;
  const hasLink = sql`EXISTS (SELECT 1 FROM ${oneTimeTokens} WHERE ${oneTimeTokens.userId} = ${users.id} AND ${gt(oneTimeTokens.expiresAt, at('now'))})`;
  const purgeUnverified = db.prepare('purge_unverified_users', (query) => query.delete(users).where(inArray(users.id,
    query.select({ id: users.id }).from(users)
      .where(and(lte(users.verifyBy, at('now')), isNull(users.emailVerifiedAt), isNull(users.lastSignedInAt), sql`NOT ${hasLink}`))
      .limit(PURGED_AT_ONCE),
  )).returning({ id: users.id }));

  return {
    /** Adds the user, unless an identifier is taken; then the transaction is undone. */
    insert: (user: User): Step => ({ statement: insert, values: user, must: true }),

    /** The accounts that hold one of the two identifiers; null matches none. */
    findByIdentifier: (email: string | null, usernameKey: string | null): Promise<User[]> =>
      db.read(byIdentifier, { email, usernameKey }),

    /** Adds the user; no row, if an identifier is taken. */
    insertIfFree: (user: User): Step => ({ statement: insert, values: user }),

    /** The account of an identifier, and the throttles of up to MAX_THROTTLE_KEYS keys, in one look-up. */
    findForSignIn: async ({ throttleKeys, ...identifier }: { email: string | null; usernameKey: string | null; throttleKeys: string[] }): Promise<{ user: User | undefined; throttles: Throttle[] }> => {
      const keys = Object.fromEntries(KEY_NAMES.map((name, index) => [name, throttleKeys[index] ?? null]));
      const rows = await db.read(forSignIn, { ...identifier, ...keys });
      return { user: rows[0]?.user ?? undefined, throttles: rows.flatMap(({ throttle }) => throttle ?? []) };
    },

    /** The password hashes of so many accounts, in the order of their ids, from the first one behind `after` on. */
    listHashes: (after: string, limit: number): Promise<{ id: string; passwordHash: string }[]> => db.read(hashes, { after, limit }),

    /** Gives the user another username, unless it is taken; then the transaction is undone. */
    rename: (change: { id: string; username: string; usernameKey: string }): Step => ({ statement: rename, values: change, must: true }),

    /**
     * Gives the user the address, verified, unless another has it; then the transaction is undone. A username without a key
     * was only asked for until now: the user gets it as well, or none if another has it meanwhile. `usernameKey` is the key of
     * the user's username; the database does not make it, because its lower() depends on its locale.
     */
    verifyEmail: (change: { id: string; email: string; usernameKey: string | null; now: number }): Step => ({ statement: verifyEmail, values: change, must: true }),

    /** Deletes the user with sessions and tokens, if the password hash is still the one that was verified; otherwise the transaction is undone. */
    remove: (user: { id: string; passwordHash: string }): Step => ({ statement: remove, values: user, must: true }),

    /**
     * Deletes up to 250 accounts that had to be verified by then, were not, never signed in, and have no link that still
     * works; returns how many.
     */
    purgeUnverified: async (now: number): Promise<number> => (await db.write(purgeUnverified, { now })).length,

    find: async (id: string): Promise<User | undefined> => (await db.read(byId, { id }))[0],

    /** Changes nothing; the transaction is undone unless the password hash is still the one that was verified, and it cannot change before the end. */
    keepPasswordHash: ({ id, passwordHash, passwordChangedAt }: User): Step => ({
      statement: replacePasswordHash, values: { id, oldHash: passwordHash, newHash: passwordHash, changedAt: passwordChangedAt }, must: true,
    }),

    /**
     * Notes a sign-in, and stores the password's hash anew, if the hash is still the one that was verified; otherwise the
     * transaction is undone. It writes the user's row, as a change of the password does. So of the two, one waits for the
     * other or is undone, at every isolation level (ASVS 15.4.2).
     */
    signIn: (change: { id: string; verifiedHash: string; newHash: string; now: number }): Step => ({ statement: signIn, values: change, must: true }),

    /** Compare-and-swap: replaces the hash that was verified, and nothing else; otherwise the transaction is undone. */
    replacePasswordHash: (change: { id: string; oldHash: string; newHash: string; changedAt: number }): Step =>
      ({ statement: replacePasswordHash, values: change, must: true }),
  };
}
