import { and, eq, gt, inArray, lte, ne, sql } from './drizzle.ts';
import { type Db, PURGED_AT_ONCE, type Step } from './db.ts';

export type OneTimeToken = Db['schema']['oneTimeTokens']['$inferSelect'];
export type Purpose = 'reset_password' | 'verify_email';

export type NewToken = {
  userId: string;
  purpose: Purpose;
  tokenHash: string;
  email: string;
  now: number;
  expiresAt: number;
};

/** Statements on one-time tokens. A user may have several of one purpose: a new one leaves the older ones alone. */
export function oneTimeTokenStatements(db: Db) {
  const { oneTimeTokens, users } = db.schema;
  const at = sql.placeholder;
  const unexpired = gt(oneTimeTokens.expiresAt, at('now'));
  const presented = and(eq(oneTimeTokens.tokenHash, at('tokenHash')), eq(oneTimeTokens.purpose, at('purpose')));
  const usable = and(presented, unexpired);
  const ofUser = eq(oneTimeTokens.userId, at('userId'));

  const issue = db.prepare('issue_one_time_token', (query) => query.insert(oneTimeTokens).select(
    query.select({
      userId: users.id,
      purpose: sql<string>`${at('purpose')}`.as('purpose'),
      tokenHash: sql<string>`${at('tokenHash')}`.as('token_hash'),
      email: sql<string>`${at('email')}`.as('email'),
      createdAt: sql<number>`CAST(${at('now')} AS bigint)`.as('created_at'),
      expiresAt: sql<number>`CAST(${at('expiresAt')} AS bigint)`.as('expires_at'),
    }).from(users).where(eq(users.id, at('userId'))),
  ).returning({ userId: oneTimeTokens.userId }));

  const find = db.prepare('find_one_time_token', (query) => query.select({ token: oneTimeTokens, user: users })
    .from(oneTimeTokens).innerJoin(users, eq(users.id, oneTimeTokens.userId)).where(presented));

  const ofUserAndPurpose = db.prepare('one_time_tokens_of_user', (query) => query.select().from(oneTimeTokens)
    .where(and(ofUser, eq(oneTimeTokens.purpose, at('purpose')), unexpired)));

  const keep = db.prepare('keep_one_time_token', (query) => query.update(oneTimeTokens)
    .set({ expiresAt: sql`${oneTimeTokens.expiresAt}` }).where(usable).returning());

  const consume = db.prepare('consume_one_time_token', (query) => query.delete(oneTimeTokens).where(usable).returning());

  const endAll = db.prepare('end_one_time_tokens', (query) => query.update(oneTimeTokens)
    .set({ expiresAt: sql`CAST(${at('now')} AS bigint)` }).where(and(ofUser, unexpired))
    .returning({ purpose: oneTimeTokens.purpose }));

  const endChanges = db.prepare('end_changes_of_address', (query) => query.update(oneTimeTokens)
    .set({ expiresAt: sql`CAST(${at('now')} AS bigint)` })
    .where(and(
      ofUser, eq(oneTimeTokens.purpose, 'verify_email'), unexpired,
      ne(oneTimeTokens.email, at('present')), ne(oneTimeTokens.email, at('wanted')),
    )).returning({ purpose: oneTimeTokens.purpose }));

  const purge = db.prepare('purge_one_time_tokens', (query) => query.delete(oneTimeTokens).where(inArray(oneTimeTokens.tokenHash,
    query.select({ tokenHash: oneTimeTokens.tokenHash }).from(oneTimeTokens)
      .where(lte(oneTimeTokens.expiresAt, at('expiredBefore'))).limit(PURGED_AT_ONCE),
  )).returning({ purpose: oneTimeTokens.purpose }));

  return {
    /** Adds a token; nothing, if there is no such user. */
    issue: (token: NewToken): Step => ({ statement: issue, values: token }),

    /** The token and its user, also when it has expired. */
    find: async (tokenHash: string, purpose: Purpose) => (await db.read(find, { tokenHash, purpose }))[0],

    /** The user's usable tokens of that purpose. */
    findOf: (userId: string, purpose: Purpose, now: number): Promise<OneTimeToken[]> =>
      db.read(ofUserAndPurpose, { userId, purpose, now }),

    /** Changes nothing; the transaction is undone unless the token is still usable. */
    keep: (tokenHash: string, purpose: Purpose, now: number): Step =>
      ({ statement: keep, values: { tokenHash, purpose, now }, must: true }),

    /** Uses the token up: of racing requests exactly one gets a row, and the transactions of the others are undone (ASVS 6.4.1). */
    consume: (tokenHash: string, purpose: Purpose, now: number): Step =>
      ({ statement: consume, values: { tokenHash, purpose, now }, must: true }),

    /** Ends the user's usable tokens of every purpose: from `now` on they have expired. */
    endAll: (userId: string, now: number): Step => ({ statement: endAll, values: { userId, now } }),

    /** Ends the tokens that would give the user another address than the present and the wanted one; returns a row for each. */
    endChanges: (of: { userId: string; present: string; wanted: string; now: number }): Step =>
      ({ statement: endChanges, values: of }),

    /** Deletes up to 250 tokens that expired then or earlier; returns how many. */
    purge: async (expiredBefore: number): Promise<number> => (await db.write(purge, { expiredBefore })).length,
  };
}
