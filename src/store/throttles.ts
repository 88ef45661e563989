import type { SQL } from 'drizzle-orm';
import { and, eq, gt, inArray, lt, lte, or, sql } from './drizzle.ts';
import { CLOCK_SKEW_MS, type Db, PURGED_AT_ONCE, type QueryBuilder, type Step } from './db.ts';

export type Throttle = Db['schema']['throttles']['$inferSelect'];
/** How attempts are counted. Times are milliseconds. */
export type Policy = {
  /** from this attempt on there are pauses between them */
  free: number;
  /** the first pause; each next one is twice as long */
  pauseMs: number;
  longestPauseMs: number;
  /** so many attempts, and no more */
  limit: number;
  /** so long after the last pause the attempts are forgotten */
  forgetMs: number;
};

/**
 * The latest times that a row may have by this clock. One that is later was written while a clock was ahead, and counts as
 * past, so that a clock that was set right leaves no pause longer than the longest. Clocks may differ by a minute.
 */
export function furthestTimes(now: number, { longestPauseMs, forgetMs }: Policy) {
  const furthestPause = now + longestPauseMs + CLOCK_SKEW_MS;
  return { furthestPause, furthestExpiry: furthestPause + forgetMs };
}

/** Statements on attempts that are counted, by the hash of what was attempted. */
export function throttleStatements(db: Db) {
  const { throttles } = db.schema;
  const at = sql.placeholder;
  const expired = lte(throttles.expiresAt, at('now'));
  const forgotten = sql`(${or(expired, gt(throttles.expiresAt, at('furthestExpiry')))})`;
  const isOver = or(lte(throttles.blockedUntil, at('now')), gt(throttles.blockedUntil, at('furthestPause')));
  const next = sql`(CASE WHEN ${forgotten} THEN 1 ELSE ${throttles.count} + 1 END)`;
  const doublings = sql`(${next} - ${at('free')})`;
  const doubled = sql`(CAST(${at('pauseMs')} AS bigint) << CAST(${doublings} AS integer))`;
  const pause = sql`(CASE WHEN ${doublings} < 0 THEN 0 WHEN ${doublings} > 20 OR ${doubled} > ${at('longestPauseMs')} THEN ${at('longestPauseMs')} ELSE ${doubled} END)`;

  const upsert = (query: QueryBuilder, setWhere?: SQL) => query.insert(throttles).values({
    key: at('key'), count: sql`1`, blockedUntil: at('now'), expiresAt: sql`CAST(${at('now')} AS bigint) + ${at('forgetMs')}`,
  }).onConflictDoUpdate({
    target: throttles.key,
    set: {
      count: next,
      blockedUntil: sql`CAST(${at('now')} AS bigint) + ${pause}`,
      expiresAt: sql`CAST(${at('now')} AS bigint) + ${pause} + ${at('forgetMs')}`,
    },
    ...(setWhere && { setWhere }),
  }).returning();
  const allowed = sql`${or(forgotten, and(isOver, lt(throttles.count, at('limit'))))}`;
  const take = db.prepare('take_attempt', (query) => upsert(query, allowed));
  const count = db.prepare('count_attempt', (query) => upsert(query));

  const giveBack = db.prepare('give_back_attempt', (query) => query.update(throttles)
    .set({ count: sql`${throttles.count} - 1`, blockedUntil: sql`${at('now')}` })
    .where(and(eq(throttles.key, at('key')), gt(throttles.count, 0))).returning({ key: throttles.key }));

  const find = db.prepare('find_throttle', (query) => query.select().from(throttles).where(eq(throttles.key, at('key'))));

  const clear = db.prepare('clear_throttle', (query) => query.delete(throttles).where(eq(throttles.key, at('key'))).returning({ key: throttles.key }));

  const purge = db.prepare('purge_throttles', (query) => query.delete(throttles).where(inArray(throttles.key,
    query.select({ key: throttles.key }).from(throttles).where(expired).limit(PURGED_AT_ONCE),
  )).returning({ key: throttles.key }));

  const values = (key: string, now: number, policy: Policy) => ({ key, now, ...policy, ...furthestTimes(now, policy) });
  return {
    /** Counts an attempt, unless there is to be none now: then no row. In one statement, so that of many at once no more than those allowed pass. */
    take: async (key: string, now: number, policy: Policy): Promise<Throttle | undefined> => (await db.write(take, values(key, now, policy)))[0],

    /** The same as a step: the transaction is undone when there is to be no attempt now. */
    takeStep: (key: string, now: number, policy: Policy): Step => ({ statement: take, values: values(key, now, policy), must: true }),

    /** Counts an attempt that was made without asking. */
    count: (key: string, now: number, policy: Policy) => db.write(count, values(key, now, policy)),

    /** Undoes `take` for an attempt that came to nothing, and the pause after it. */
    giveBack: (key: string, now: number) => db.write(giveBack, { key, now }),

    find: async (key: string): Promise<Throttle | undefined> => (await db.read(find, { key }))[0],

    /** Forgets the attempts. */
    clear: (key: string): Step => ({ statement: clear, values: { key } }),

    /** Deletes up to 250 forgotten rows; yields how many. */
    purge: async (now: number): Promise<number> => (await db.write(purge, { now })).length,
  };
}
