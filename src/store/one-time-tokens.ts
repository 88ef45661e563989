import { and, eq, gt, inArray, lte, sql } from './drizzle.ts';
import type { Db, Step } from './db.ts';

export type OneTimeToken = Db['schema']['oneTimeTokens']['$inferSelect'];
export type Purpose = 'reset_password' | 'verify_email';

/** Statements on one-time tokens: at most one for each user and purpose. */
export function oneTimeTokenStatements(db: Db) {
  const { oneTimeTokens, users } = db.schema;
  const at = sql.placeholder;
  const usable = and(eq(oneTimeTokens.tokenHash, at('tokenHash')), eq(oneTimeTokens.purpose, at('purpose')), gt(oneTimeTokens.expiresAt, at('now')));

  const issue = db.prepare('issue_one_time_token', (query) => query.insert(oneTimeTokens).select(
    query.select({
      userId: users.id,
      purpose: sql<string>`${at('purpose')}`.as('purpose'),
      tokenHash: sql<string>`${at('tokenHash')}`.as('token_hash'),
      email: sql<string>`${at('email')}`.as('email'),
      createdAt: sql<number>`CAST(${at('now')} AS bigint)`.as('created_at'),
      expiresAt: sql<number>`CAST(${at('expiresAt')} AS bigint)`.as('expires_at'),
    }).from(users).where(eq(users.id, at('userId'))),
  ).onConflictDoUpdate({
    target: [oneTimeTokens.userId, oneTimeTokens.purpose],
    set: { tokenHash: sql`excluded.token_hash`, email: sql`excluded.email`, createdAt: sql`excluded.created_at`, expiresAt: sql`excluded.expires_at` },
  }).returning({ userId: oneTimeTokens.userId }));

  const find = db.prepare('find_one_time_token', (query) => query.select({ token: oneTimeTokens, user: users }).from(oneTimeTokens)
    .innerJoin(users, eq(users.id, oneTimeTokens.userId)).where(usable));

  const ofUser = db.prepare('one_time_token_of_user', (query) => query.select().from(oneTimeTokens)
    .where(and(eq(oneTimeTokens.userId, at('userId')), eq(oneTimeTokens.purpose, at('purpose')), gt(oneTimeTokens.expiresAt, at('now')))));

  const consume = db.prepare('consume_one_time_token', (query) => query.delete(oneTimeTokens).where(usable).returning());

  const revokeAll = db.prepare('revoke_one_time_tokens', (query) => query.delete(oneTimeTokens)
    .where(eq(oneTimeTokens.userId, at('userId'))).returning({ purpose: oneTimeTokens.purpose }));

  const purge = db.prepare('purge_one_time_tokens', (query) => query.delete(oneTimeTokens).where(inArray(oneTimeTokens.tokenHash,
    query.select({ tokenHash: oneTimeTokens.tokenHash }).from(oneTimeTokens).where(lte(oneTimeTokens.expiresAt, at('now'))).limit(1000),
  )).returning({ purpose: oneTimeTokens.purpose }));

  return {
    /** Puts the token in the place of the user's older one of that purpose; nothing, if there is no such user. */
    issue: (token: { userId: string; purpose: Purpose; tokenHash: string; email: string; now: number; expiresAt: number }): Step => ({ statement: issue, values: token }),

    /** The usable token and its user. */
    find: async (tokenHash: string, purpose: Purpose, now: number) => (await db.read(find, { tokenHash, purpose, now }))[0],

    /** The user's usable token of that purpose. */
    findOf: async (userId: string, purpose: Purpose, now: number): Promise<OneTimeToken | undefined> => (await db.read(ofUser, { userId, purpose, now }))[0],

    /** Uses the token up: of racing requests exactly one gets a row, and the transactions of the others are undone (ASVS 6.4.1). */
    consume: (tokenHash: string, purpose: Purpose, now: number): Step => ({ statement: consume, values: { tokenHash, purpose, now }, must: true }),

    /** Ends the user's tokens of every purpose. */
    revokeAll: (userId: string): Step => ({ statement: revokeAll, values: { userId } }),

    /** Deletes up to 1000 expired tokens; yields how many. */
    purge: async (now: number): Promise<number> => (await db.write(purge, { now })).length,
  };
}
