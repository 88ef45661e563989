import Database from 'better-sqlite3';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { drizzle as drizzlePg } from 'drizzle-orm/node-postgres';
import { expect, test } from 'vitest';
import type { Db } from '../../src/store/db.ts';
import * as pgSchema from '../../src/store/schema/pg.ts';
import * as sqliteSchema from '../../src/store/schema/sqlite.ts';
import { sessionStatements } from '../../src/store/sessions.ts';
import { userStatements } from '../../src/store/users.ts';
import { startApp, type TestApp } from '../support/app.ts';
import { query } from '../support/postgres.ts';
import { insertSessions } from '../support/sessions.ts';

/** The statements on many sessions of one user: each is to reach those that were not ended without reading the others. */
const OF_USER = ['insert_session', 'live_sessions_of_user', 'revoke_other_sessions', 'revoke_all_sessions', 'revoke_excess_sessions'];
const OTHERS = ['rotate_session', 'session_with_user', 'live_session_with_user', 'revoke_session', 'delete_ended_sessions', 'purge_sessions', 'newest_session'];
const BY_USER = {
  sqlite: /sessions_by_user \(user_id=\? AND revoked_at=\?/,
  postgres: /sessions_by_user[^\n]*\n\s*Index Cond: \(\(user_id = '[\w-]+'::text\) AND \(revoked_at IS NULL\)/,
};
type Text = { sql: string; params: unknown[] };

/** The look-ups of an account by its names. */
const BY_NAME = ['user_by_identifier', 'user_for_sign_in'];

/** The text of each of these statements, and values for its parameters, by the statement's name. */
function textsOf(dialect: 'sqlite' | 'postgres', userId: string): Map<string, Text> {
  const mock = dialect === 'sqlite' ? drizzle.mock() : drizzlePg.mock();
  const texts = new Map<string, Text>();
  const valueOf = (name: string) => (name === 'userId' ? userId : /Id$|Hash$|^(id|ip|userAgent|reason)$/.test(name) ? 'x' : 600);
  const db = {
    schema: dialect === 'sqlite' ? sqliteSchema : pgSchema,
    prepare(name: string, build: (query: typeof mock) => unknown) {
      const { sql, params } = (build(mock) as { toSQL(): Text }).toSQL();
      texts.set(name, { sql, params: params.map((param) => (typeof param === 'object' && param ? valueOf((param as { name: string }).name) : param)) });
      return {};
    },
  } as unknown as Db;
  sessionStatements(db);
  expect([...texts.keys()].sort()).toEqual([...OF_USER, ...OTHERS].sort());
  userStatements(db);
  return new Map([...texts].filter(([name]) => [...OF_USER, ...OTHERS, ...BY_NAME].includes(name)));
}

/** Many accounts, so that an index pays; none has a username. */
async function fillUsers({ app: { store } }: TestApp) {
  const [user] = await store.users.findByIdentifier('john@example.com', null);
  await store.transact(Array.from({ length: 500 }, (_, index) => {
    const id = `filler-${index}`;
    return store.users.insert({ ...user!, id, email: `${id}@example.com` });
  }));
}

test('planners find sessions and names by an index, with statistics and without, and never read what was ended', async () => {
  const server = await startApp();
  const { database } = server.app.config;
  const { userId } = await server.register();
  await insertSessions(server, userId, 5_000, { revokedAt: server.clock.now, prefix: 'ended-' });
  await insertSessions(server, userId, 100);
  await fillUsers(server);
  await insertSessions(server, '', 150_000, { prefix: 'busy-', owner: "'filler-' || (i % 500)" });
  const texts = textsOf(database.dialect, userId);

  const explain = async (run: (text: Text) => string[] | Promise<string[]>) => {
    for (const [name, text] of texts) {
      const plan = (await run(text)).join('\n');
      expect.soft(plan, name).not.toMatch(/SCAN (sessions|users)|Seq Scan on (sessions|users)/);
      if (OF_USER.includes(name)) expect.soft(plan, name).toMatch(BY_USER[database.dialect]);
    }
  };
  if (database.dialect === 'postgres') {
    const { url } = database;
    const plansOf = async ({ sql, params }: Text) =>
      (await query(url, `EXPLAIN ${sql}`, params)).rows.map((row) => String(row['QUERY PLAN']));
    await query(url, 'VACUUM ANALYZE');
    await explain(plansOf);
    return;
  }
  const connection = new Database(database.path);
  const plansOf = ({ sql, params }: Text) =>
    (connection.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...params) as { detail: string }[]).map(({ detail }) => detail);
  await explain(plansOf);
  connection.exec('ANALYZE');
  await explain(plansOf);
  connection.close();
});
