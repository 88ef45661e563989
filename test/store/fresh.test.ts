import { expect, test } from 'vitest';
import { openDb } from '../../src/store/db.ts';
import { sql } from '../../src/store/drizzle.ts';
import { problemOf, startApp } from '../support/app.ts';

test('a fresh database has no user, and no row in any other table; usual names open nothing (ASVS 6.3.2)', async () => {
  const { app, post } = await startApp();
  const db = await openDb(app.config.database);
  try {
    for (const [name, table] of Object.entries(db.schema)) {
      const count = db.prepare(`count ${name}`, (query) => query.select({ rows: sql<number>`count(*)` }).from(table as typeof db.schema.users));
      expect([name, await db.read(count, {})]).toEqual([name, [{ rows: 0 }]]);
    }
  } finally {
    await db.close();
  }
  for (const name of ['admin', 'root', 'keyturn', 'test', 'user', 'sa']) {
    for (const password of [name, 'admin', 'password', 'keyturn']) {
      expect(problemOf(await post('/auth/login', { username: name, password }))).toBe('401 invalid_credentials');
    }
  }
});
