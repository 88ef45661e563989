import { sql } from 'drizzle-orm';
import { expect, onTestFinished, test } from 'vitest';
import { DatabaseAway, openDb } from '../../src/store/db.ts';
import { databaseFor, temporaryFolder } from '../support/app.ts';

async function open(poolSize = 2, timeoutMs = 300) {
  const { DATABASE_URL: url } = await databaseFor(temporaryFolder());
  const db = await openDb({ dialect: 'postgres', url: url!, poolSize, timeoutMs });
  onTestFinished(() => db.close());
  return db;
}

test('a mistake in a statement is not taken for an absent database, alone or in a transaction', async () => {
  const db = await open();
  const wrong = db.prepare('wrong', (query) => query.select({ none: sql`${sql.placeholder('none')}::int / 0` }).from(sql`(VALUES (1)) AS one`));
  const failure: unknown = await db.read(wrong, { none: 1 }).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: '22012', statement: 'wrong' });
  expect((failure as Error).cause).toBeUndefined(); // the driver's error quotes values
  await expect(db.transact([{ statement: wrong, values: { none: 1 } }, { statement: wrong, values: { none: 1 } }])).rejects.not.toBeInstanceOf(DatabaseAway);
});

test('a statement that takes too long, or waits too long for a connection, is given up, and the pool heals by itself', async () => {
  const db = await open(1);
  const slow = db.prepare('slow', (query) => query.select({ slept: sql`pg_sleep(${sql.placeholder('seconds')}::float)` }).from(sql`(VALUES (1)) AS one`));
  const started = performance.now();
  const long = { statement: slow, values: { seconds: 60 } };
  const results = await Promise.allSettled([db.read(slow, long.values), db.read(slow, long.values), db.transact([long, long])]);
  expect(performance.now() - started).toBeLessThan(30_000);
  for (const result of results) expect(result).toMatchObject({ reason: expect.any(DatabaseAway) });
  expect(await db.read(slow, { seconds: 0 })).toHaveLength(1);
});

test('a connection that is cut in the middle of a transaction undoes it, and hurts nobody else', async () => {
  const db = await open(2, 2000);
  const { users } = db.schema;
  const insert = db.prepare('insert', (query) => query.insert(users).values({ id: 'half', email: null, username: null, usernameKey: null, passwordHash: '', roles: '', emailVerifiedAt: null, passwordChangedAt: 0, createdAt: 0 }).returning({ id: users.id }));
  const cut = db.prepare('cut', (query) => query.select({ done: sql`pg_terminate_backend(pg_backend_pid())` }).from(sql`(VALUES (1)) AS one`));
  const find = db.prepare('find', (query) => query.select({ id: users.id }).from(users));
  await expect(db.transact([{ statement: insert, values: {} }, { statement: cut, values: {} }])).rejects.toBeInstanceOf(DatabaseAway);
  expect(await db.read(find, {})).toEqual([]);
  expect(await db.transact([{ statement: insert, values: {} }, { statement: find, values: {} }])).toEqual([1, 1]);
});
