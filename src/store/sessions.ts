import { and, desc, eq, gt, inArray, isNotNull, isNull, lte, ne, sql } from './drizzle.ts';
import { counted, type Db, PURGED_AT_ONCE, type Step, textAt } from './db.ts';
import type { User } from './users.ts';

export type Session = Db['schema']['sessions']['$inferSelect'];
/** What tells whether a session lives, and whose it is. */
export type SessionState = Pick<Session, 'id' | 'userId' | 'keyId' | 'revokedAt' | 'idleExpiresAt' | 'expiresAt'>;
/** A place in the list of a user's sessions. */
export type SessionPlace = Pick<Session, 'createdAt' | 'id'>;
export type RevokedReason = 'logout' | 'ended_by_user' | 'replaced' | 'session_limit' | 'expired' | 'password_changed' | 'password_reset'
  | 'refresh_token_reused' | 'restored';
export type NewSession = Pick<Session, 'id' | 'userId' | 'tokenHash' | 'keyId' | 'userAgent' | 'ip' | 'idleExpiresAt' | 'expiresAt'>
  & { now: number; limit: number };
export type Rotation = {
  id: string; presentedHash: string; keyId: string; nextHash: string; userAgent: string | null; ip: string; now: number; graceMs: number; idleExpiresAt: number;
};

/** Sessions that one statement ends or deletes, at most. On SQLite nobody else is served meanwhile: some 10 ms. */
export const SESSIONS_AT_ONCE = 500;

/** Statements on sessions: one row per sign-in, a chain of tokens. */
export function sessionStatements(db: Db) {
  const { sessions, users } = db.schema;
  const at = sql.placeholder;
  const live = and(isNull(sessions.revokedAt), gt(sessions.idleExpiresAt, at('now')), gt(sessions.expiresAt, at('now')));
  /** All sessions of a user but those that were ended, of which there may be a million. Some are past their time. */
  const ofUser = and(eq(sessions.userId, at('userId')), isNull(sessions.revokedAt));
  const revocation = { revokedAt: sql`${at('now')}`, revokedReason: sql`${at('reason')}` };

  const insert = db.prepare('insert_session', (query) => {
    const beyondLimit = query.select({ id: sessions.id }).from(sessions).where(ofUser).orderBy(sessions.createdAt, sessions.id)
      .limit(1).offset(at('others'));
    return counted(query.insert(sessions).select(query.select({
      id: sql<string>`${at('id')}`.as('id'),
      userId: sql<string>`${at('userId')}`.as('user_id'),
      tokenHash: sql<string>`${at('tokenHash')}`.as('token_hash'),
      generation: sql<number>`0`.as('generation'),
      windowStartedAt: sql<number>`${at('now')}`.as('window_started_at'),
      windowGeneration: sql<number>`0`.as('window_generation'),
      previousGeneration: sql<number>`0`.as('previous_generation'),
      rotatedAt: sql<number>`${at('now')}`.as('rotated_at'),
      idleExpiresAt: sql<number>`${at('idleExpiresAt')}`.as('idle_expires_at'),
      expiresAt: sql<number>`${at('expiresAt')}`.as('expires_at'),
      revokedAt: sql<number | null>`NULL`.as('revoked_at'),
      revokedReason: sql<string | null>`NULL`.as('revoked_reason'),
      keyId: sql<string>`${at('keyId')}`.as('key_id'),
      userAgent: sql<string | null>`${at('userAgent')}`.as('user_agent'),
      ip: sql<string>`${at('ip')}`.as('ip'),
      createdAt: sql<number>`${at('now')}`.as('created_at'),
      lastUsedAt: sql<number>`${at('now')}`.as('last_used_at'),
    }).from(sql`(SELECT 1) AS once`).where(sql`NOT EXISTS ${beyondLimit}`)));
  });

  // A rotation opens a new window when the current one began more than a grace ago. After a pause longer than the grace, both
  // windows begin at the present generation. Distances count in either direction: a clock may be set back.
  const paused = sql`abs(${at('now')} - ${sessions.rotatedAt}) > ${at('graceMs')}`;
  const windowOver = sql`abs(${at('now')} - ${sessions.windowStartedAt}) > ${at('graceMs')}`;
  const rotate = db.prepare('rotate_session', (query) => query.update(sessions).set({
    tokenHash: sql`${at('nextHash')}`,
    generation: sql`${sessions.generation} + 1`,
    windowStartedAt: sql`CASE WHEN ${paused} OR ${windowOver} THEN ${at('now')} ELSE ${sessions.windowStartedAt} END`,
    windowGeneration: sql`CASE WHEN ${paused} OR ${windowOver} THEN ${sessions.generation} ELSE ${sessions.windowGeneration} END`,
    previousGeneration: sql`CASE WHEN ${paused} THEN ${sessions.generation} WHEN ${windowOver} THEN ${sessions.windowGeneration}
      ELSE ${sessions.previousGeneration} END`,
    rotatedAt: sql`${at('now')}`,
    lastUsedAt: sql`${at('now')}`,
    userAgent: sql`${at('userAgent')}`,
    ip: sql`${at('ip')}`,
    idleExpiresAt: sql`${at('idleExpiresAt')}`,
  }).where(and(eq(sessions.id, at('id')), eq(sessions.tokenHash, at('presentedHash')), eq(sessions.keyId, at('keyId')), live))
    .returning({
      id: sessions.id, userId: sessions.userId, expiresAt: sessions.expiresAt, createdAt: sessions.createdAt,
      roles: sql<string>`(SELECT ${users.roles} FROM ${users} WHERE ${users.id} = ${sessions.userId})`,
    }));

  const withUser = db.prepare('session_with_user', (query) => query.select({ session: sessions, user: users }).from(sessions)
    .innerJoin(users, eq(users.id, sessions.userId)).where(eq(sessions.id, textAt('id'))));

  const liveWithUser = db.prepare('live_session_with_user', (query) => query.select({
    user: users, keyId: sessions.keyId, idleExpiresAt: sessions.idleExpiresAt, expiresAt: sessions.expiresAt,
  }).from(sessions).innerJoin(users, eq(users.id, sessions.userId)).where(and(eq(sessions.id, textAt('id')), live)));

  const list = db.prepare('live_sessions_of_user', (query) => query.select().from(sessions)
    .where(and(ofUser, sql`(${sessions.createdAt}, ${sessions.id}) < (CAST(${at('createdAt')} AS bigint), ${textAt('id')})`))
    .orderBy(desc(sessions.createdAt), desc(sessions.id)).limit(at('limit')));

  const revoke = db.prepare('revoke_session', (query) => counted(query.update(sessions).set(revocation)
    .where(and(eq(sessions.id, at('id')), eq(sessions.userId, at('userId')), isNull(sessions.revokedAt)))));

  const revokeOthers = db.prepare('revoke_other_sessions', (query) => counted(query.update(sessions).set(revocation)
    .where(and(ofUser, ne(sessions.id, at('keptId'))))));

  const revokeAll = db.prepare('revoke_all_sessions', (query) => counted(query.update(sessions).set(revocation).where(ofUser)));

  // Only the oldest sessions are looked at, so that there is an end to the work. The most recently used of them stay, and
  // compete with the next ones when the statement is repeated: in the end those stay that were used last of all.
  const revokeExcess = db.prepare('revoke_excess_sessions', (query) => {
    const lastLived = sql<number>`CASE WHEN ${live} THEN ${sessions.lastUsedAt} ELSE 0 END`.as('last_lived');
    const oldest = query.select({ id: sessions.id, lastLived }).from(sessions)
      .where(and(ofUser, ne(sessions.id, at('keptId')))).orderBy(sessions.createdAt, sessions.id).limit(at('lookedAt')).as('oldest');
    const excess = query.select({ id: oldest.id }).from(oldest).orderBy(desc(oldest.lastLived), oldest.id).limit(SESSIONS_AT_ONCE)
      .offset(at('kept'));
    return counted(query.update(sessions).set(revocation).where(and(inArray(sessions.id, excess), isNull(sessions.revokedAt))));
  });

  const removeEnded = db.prepare('delete_ended_sessions', (query) => counted(query.delete(sessions).where(inArray(sessions.id,
    query.select({ id: sessions.id }).from(sessions).where(and(eq(sessions.userId, at('userId')), isNotNull(sessions.revokedAt)))
      .limit(SESSIONS_AT_ONCE)))));

  const purge = db.prepare('purge_sessions', (query) => query.delete(sessions).where(inArray(sessions.id,
    query.select({ id: sessions.id }).from(sessions).where(lte(sessions.expiresAt, at('now'))).limit(PURGED_AT_ONCE),
  )).returning({ id: sessions.id }));

  const newest = db.prepare('newest_session', (query) => query.select({ createdAt: sessions.createdAt }).from(sessions)
    .where(gt(sessions.expiresAt, 0)).orderBy(desc(sessions.expiresAt)).limit(1)); // the condition keeps to the index

  return {
    /** When the session began that is the last to expire; undefined where there is none. By the index that the purge uses. */
    findNewestStart: async (): Promise<number | undefined> => (await db.read(newest, {}))[0]?.createdAt,

    /** Adds a session at generation 0, unless the user has `limit` sessions; then the transaction is undone. */
    insert: ({ limit, ...session }: NewSession): Step => ({ statement: insert, values: { ...session, others: limit - 1 }, must: true }),

    /** Compare-and-swap of the token's hash: of racing requests exactly one gets a row (RFC 9700 §4.14). */
    rotate: async (rotation: Rotation) => (await db.write(rotate, rotation))[0],

    find: async (id: string) => (await db.read(withUser, { id }))[0],

    /** The live session with its user, by one indexed look-up: of the session only what is needed to tell, for this is read with every request. */
    findLive: async (id: string, now: number): Promise<{ session: SessionState; user: User } | undefined> => {
      const [row] = await db.read(liveWithUser, { id, now });
      if (!row) return undefined;
      const { user, ...session } = row;
      return { session: { id, userId: user.id, revokedAt: null, ...session }, user };
    },

    /** Up to `limit` sessions of the user behind a place, the newest first, without those that were ended. */
    list: (userId: string, after: SessionPlace, limit: number): Promise<Session[]> => db.read(list, { userId, ...after, limit }),

    /** Ends one session of the user, unless it was ended before. */
    revoke: (end: { id: string; userId: string; reason: RevokedReason; now: number }): Step => ({ statement: revoke, values: end }),

    /** Ends the user's sessions but one: all in one statement, so end those past the limit first. */
    revokeOthers: (end: { userId: string; keptId: string; reason: RevokedReason; now: number }): Step => ({ statement: revokeOthers, values: end }),

    /** Ends all sessions of the user: all in one statement, so end those past the limit first. */
    revokeAll: (end: { userId: string; reason: RevokedReason; now: number }): Step => ({ statement: revokeAll, values: end }),

    /**
     * Ends up to SESSIONS_AT_ONCE sessions of the user other than `keptId`, and leaves at least `kept`: first those past their
     * time, then those that were not used for longest. Where it ends fewer, no more than `kept` are left.
     */
    revokeExcess: ({ kept, ...end }: { userId: string; keptId: string; kept: number; now: number }): Step => ({
      statement: revokeExcess, values: { ...end, kept, lookedAt: kept + SESSIONS_AT_ONCE, reason: 'session_limit' },
    }),

    /** Deletes up to SESSIONS_AT_ONCE sessions of the user that were ended. */
    removeEnded: (userId: string): Step => ({ statement: removeEnded, values: { userId } }),

    /** Deletes up to 250 sessions past their absolute end; yields how many. */
    purge: async (now: number): Promise<number> => (await db.write(purge, { now })).length,
  };
}
