import { and, asc, desc, eq, gt, inArray, isNull, lte, ne, sql } from './drizzle.ts';
import { type Db, type Step, textAt } from './db.ts';
import type { User } from './users.ts';

export type Session = Db['schema']['sessions']['$inferSelect'];
/** What tells whether a session lives, and whose it is. */
export type SessionState = Pick<Session, 'id' | 'userId' | 'keyId' | 'revokedAt' | 'idleExpiresAt' | 'expiresAt'>;
export type RevokedReason = 'logout' | 'ended_by_user' | 'password_changed' | 'password_reset' | 'refresh_token_reused' | 'restored';
export type Rotation = {
  id: string; presentedHash: string; keyId: string; nextHash: string; userAgent: string | null; ip: string; now: number; graceMs: number; idleExpiresAt: number;
};

/** Statements on sessions: one row per sign-in, a chain of tokens. */
export function sessionStatements(db: Db) {
  const { sessions, users } = db.schema;
  const at = sql.placeholder;
  const live = and(isNull(sessions.revokedAt), gt(sessions.idleExpiresAt, at('now')), gt(sessions.expiresAt, at('now')));
  const revocation = { revokedAt: sql`${at('now')}`, revokedReason: sql`${at('reason')}` };

  const insert = db.prepare('insert_session', (query) => query.insert(sessions).select(
    db.locked(query.select({
      id: sql<string>`${at('id')}`.as('id'),
      userId: users.id,
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
    }).from(users).where(and(eq(users.id, at('userId')), eq(users.passwordHash, at('passwordHash')))).$dynamic()),
  ).returning({ id: sessions.id }));

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

  const ofUser = db.prepare('live_sessions_of_user', (query) => query.select().from(sessions)
    .where(and(eq(sessions.userId, at('userId')), live)).orderBy(desc(sessions.lastUsedAt), asc(sessions.id)));

  const revoke = db.prepare('revoke_session', (query) => query.update(sessions).set(revocation)
    .where(and(eq(sessions.id, at('id')), eq(sessions.userId, at('userId')), live)).returning({ id: sessions.id }));

  const revokeOthers = db.prepare('revoke_other_sessions', (query) => query.update(sessions).set(revocation)
    .where(and(eq(sessions.userId, at('userId')), ne(sessions.id, at('keptId')), live)).returning({ id: sessions.id }));

  const revokeAll = db.prepare('revoke_all_sessions', (query) => query.update(sessions).set(revocation)
    .where(and(eq(sessions.userId, at('userId')), live)).returning({ id: sessions.id }));

  const purge = db.prepare('purge_sessions', (query) => query.delete(sessions).where(inArray(sessions.id,
    query.select({ id: sessions.id }).from(sessions).where(lte(sessions.expiresAt, at('now'))).limit(1000),
  )).returning({ id: sessions.id }));

  return {
    /**
     * Adds a session at generation 0, if the user still has the password hash that was verified: a sign-in that races
     * a change of the password loses (ASVS 15.4.2). Otherwise the transaction is undone.
     */
    insert: (session: { id: string; userId: string; passwordHash: string; tokenHash: string; keyId: string; userAgent: string | null; ip: string; now: number; idleExpiresAt: number; expiresAt: number }): Step =>
      ({ statement: insert, values: session, must: true }),

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

    /** The live sessions of a user, last used first. */
    list: (userId: string, now: number): Promise<Session[]> => db.read(ofUser, { userId, now }),

    /** Ends one session of the user, if it lives. */
    revoke: (end: { id: string; userId: string; reason: RevokedReason; now: number }): Step => ({ statement: revoke, values: end }),

    /** Ends the user's live sessions but one. */
    revokeOthers: (end: { userId: string; keptId: string; reason: RevokedReason; now: number }): Step => ({ statement: revokeOthers, values: end }),

    /** Ends all live sessions of the user. */
    revokeAll: (end: { userId: string; reason: RevokedReason; now: number }): Step => ({ statement: revokeAll, values: end }),

    /** Deletes up to 1000 sessions past their absolute end; yields how many. */
    purge: async (now: number): Promise<number> => (await db.write(purge, { now })).length,
  };
}
