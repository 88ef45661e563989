import { and, asc, eq, gt, inArray, lte, or, sql } from './drizzle.ts';
import { CLOCK_SKEW_MS, type Db, type Step } from './db.ts';

export type Mail = Db['schema']['mails']['$inferSelect'];

/** The longest time from one attempt to the next. A mail that is due later than that was written while a clock was ahead: it is due. */
export const LONGEST_MAIL_PAUSE_MS = 60 * 60_000;

/** Statements on the outbox. */
export function mailStatements(db: Db) {
  const { mails } = db.schema;
  const at = sql.placeholder;
  const due = or(lte(mails.dueAt, at('now')), gt(mails.dueAt, at('furthest')));

  const insert = db.prepare('insert_mail', (query) => query.insert(mails).values({
    id: at('id'), template: at('template'), recipient: at('recipient'), data: at('data'), tokenSeed: at('tokenSeed'), keyId: at('keyId'),
    attempts: sql`0`, dueAt: at('createdAt'), expiresAt: at('expiresAt'), createdAt: at('createdAt'),
  }).returning({ id: mails.id }));

  const someDue = db.prepare('some_mail_due', (query) => query.select({ id: mails.id }).from(mails).where(due).limit(1));

  const claim = db.prepare('claim_mails', (query) => query.update(mails)
    .set({ dueAt: sql`${at('leaseUntil')}`, attempts: sql`${mails.attempts} + 1` })
    .where(and(inArray(mails.id, query.select({ id: mails.id }).from(mails).where(due).orderBy(asc(mails.dueAt)).limit(at('limit'))), due))
    .returning());

  const postpone = db.prepare('postpone_mail', (query) => query.update(mails).set({ dueAt: sql`${at('dueAt')}` })
    .where(eq(mails.id, at('id'))).returning({ id: mails.id }));

  const remove = db.prepare('delete_mail', (query) => query.delete(mails).where(eq(mails.id, at('id'))).returning({ id: mails.id }));

  const furthest = (now: number) => now + LONGEST_MAIL_PAUSE_MS + CLOCK_SKEW_MS;
  return {
    /** Puts a mail into the outbox, due at once. */
    insert: (mail: Omit<Mail, 'attempts' | 'dueAt'>): Step => ({ statement: insert, values: mail, must: true }),

    /** Whether a mail is due; writes nothing. */
    areDue: async (now: number): Promise<boolean> => (await db.read(someDue, { now, furthest: furthest(now) })).length > 0,

    /** Takes mails that are due, the oldest first: until `leaseUntil` no other copy of the server gets them, and after it each that is still there. */
    claim: (lease: { now: number; leaseUntil: number; limit: number }): Promise<Mail[]> =>
      db.write(claim, { ...lease, furthest: furthest(lease.now) }),

    /** Makes the mail due again at a later time. */
    postpone: (id: string, dueAt: number) => db.write(postpone, { id, dueAt }),

    remove: (id: string) => db.write(remove, { id }),
  };
}
