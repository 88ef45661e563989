import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { sql } from 'drizzle-orm';
import { expect, onTestFinished, test } from 'vitest';
import { DatabaseAway, openDb } from '../../src/store/db.ts';
import { userStatements } from '../../src/store/users.ts';
import { PASSWORD, problemOf, startApp, temporaryFolder } from '../support/app.ts';

const user = (id: string) => ({
  id, email: `${id}@example.com`, username: null, usernameKey: null, passwordHash: 'x', roles: '', emailVerifiedAt: null, passwordChangedAt: 0, createdAt: 0,
  lastSignedInAt: null, verifyBy: null,
});

async function open(path = join(temporaryFolder(), 'keyturn.db')) {
  const db = await openDb({ dialect: 'sqlite', path });
  onTestFinished(() => db.close());
  return { db, users: userStatements(db), path };
}

test('a commit is on disk before it is answered: WAL with synchronous=FULL, also after the first write', async () => {
  const { db, users, path } = await open();
  await db.transact([users.insert(user('a'))]);
  const pragma = db.prepare('pragma', (query) => query.select({ synchronous: sql<number>`(SELECT synchronous FROM pragma_synchronous)` }).from(db.schema.users));
  expect(await db.read(pragma, {})).toEqual([{ synchronous: 2 }]);
  expect(readFileSync(`${path}-wal`).includes('a@example.com')).toBe(true);
});

test('a database that cannot be made durable is refused', async () => {
  await expect(openDb({ dialect: 'sqlite', path: ':memory:' })).rejects.toThrow(/journal_mode=wal/);
});

test('writes of one turn share one commit, and one that fails takes no other with it', async () => {
  const { db, users, path } = await open();
  await db.transact([users.insert(user('a'))]);
  const spoil = db.prepare('spoil', (query) => query.insert(db.schema.users).values({ ...user('b'), id: sql.placeholder('id') as never }).returning());
  const results = await Promise.allSettled([
    db.transact([users.insert(user('c'))]),
    db.write(spoil, { id: 'a' }),
    db.transact([users.insert(user('d')), users.insert(user('a'))]),
    db.transact([users.insert(user('e'))]),
  ]);
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
  expect(results[2]).toMatchObject({ value: null });
  const other = new Database(path, { readonly: true });
  expect(other.prepare('SELECT id FROM users ORDER BY id').pluck().all()).toEqual(['a', 'c', 'e']);
  other.close();
});

test('when the database is locked for too long every waiting write is refused, and later ones work', async () => {
  const { db, users, path } = await open();
  const other = new Database(path);
  other.exec('BEGIN IMMEDIATE');
  const refused = await Promise.allSettled([db.transact([users.insert(user('a'))]), db.transact([users.insert(user('b'))])]);
  expect(refused).toMatchObject([{ reason: expect.any(DatabaseAway) }, { reason: expect.any(DatabaseAway) }]);
  other.exec('ROLLBACK');
  other.close();
  expect(await db.transact([users.insert(user('a'))])).toEqual([1]);
});

test('processes that start together on a new database all come up', async () => {
  const path = join(temporaryFolder(), 'keyturn.db');
  const program = `import { openDb } from './src/store/db.ts'; await (await openDb({ dialect: 'sqlite', path: process.argv[1] })).close();`;
  const codes = await Promise.all(Array.from({ length: 3 }, async () => {
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program, path], { stdio: 'inherit' });
    return (await once(child, 'exit'))[0] as number;
  }));
  expect(codes).toEqual([0, 0, 0]);
});

test('when a table is gone the answer is 503, readiness says so, and both recover with it', async () => {
  const { post, get, register, folder } = await startApp();
  await register();
  const other = new Database(`${folder}/keyturn.db`);
  other.exec('ALTER TABLE users RENAME TO hidden');
  expect(problemOf(await post('/auth/login', { email: 'john@example.com', password: PASSWORD }))).toBe('503 database_away');
  expect([problemOf(await get('/health/ready')), (await get('/health/live')).statusCode]).toEqual(['503 database_away', 200]);
  other.exec('ALTER TABLE hidden RENAME TO users');
  other.close();
  expect((await post('/auth/login', { email: 'john@example.com', password: PASSWORD })).statusCode).toBe(200);
  expect((await get('/health/ready')).statusCode).toBe(200);
});

test('what another process commits is seen by the next read, and so is what this one commits', async () => {
  const { users, path, db } = await open();
  const other = await open(path);
  const ids = async () => (await users.findByIdentifier('a@example.com', 'b')).map(({ id }) => id);
  expect(await ids()).toEqual([]);
  await other.db.transact([other.users.insert(user('a'))]);
  expect(await ids()).toEqual(['a']);
  const [before, , after] = await Promise.all([ids(), db.transact([users.insert({ ...user('b'), email: null, usernameKey: 'b' })]).then(ids), ids()]);
  expect([before, after]).toEqual([['a'], ['a']]);
  expect(await ids()).toEqual(['a', 'b']);
});

test('any number of reads at once are answered, each with its own rows', async () => {
  const { users, db } = await open();
  const ids = Array.from({ length: 100 }, (_, index) => `user${index}`);
  await Promise.all(ids.map((id) => db.transact([users.insert(user(id))])));
  for (const count of [1, 31, 32, 33, 64, 100]) {
    const found = await Promise.all(ids.slice(0, count).map((id) => users.find(id)));
    expect(found.map((each) => each?.id)).toEqual(ids.slice(0, count));
  }
});
