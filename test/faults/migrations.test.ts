import { readdirSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, inject, onTestFinished, test } from 'vitest';
import { databaseFor, PASSWORD, temporaryFolder } from '../support/app.ts';
import { DIALECT, launch, makeNewerKeyturn } from '../support/newer-keyturn.ts';
import { query } from '../support/postgres.ts';
import { startServer } from '../support/server.ts';

const PATIENCE = { timeout: 60_000, interval: 20 };
/** Longer than the ten seconds after which Fastify gives up a plugin; SQLite counts for some seconds. */
const SLOW = DIALECT === 'pg' ? 'SELECT pg_sleep(11)'
  : 'INSERT INTO first_half WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000000) SELECT max(n) FROM numbers';
const SLOW_MIGRATION = ['CREATE TABLE first_half (n integer)', SLOW, 'CREATE TABLE second_half (n integer)'];
const QUICK_MIGRATION = ['CREATE TABLE first_half (n integer)'];

/** The rows of a statement on the database of a folder. */
async function ask(folder: string, text: string): Promise<Record<string, unknown>[]> {
  const { DATABASE_URL } = await databaseFor(folder);
  if (DATABASE_URL) return (await query(DATABASE_URL, text)).rows;
  const connection = new Database(join(folder, 'keyturn.db'), { readonly: true });
  try {
    return connection.prepare<[], Record<string, unknown>>(text).all();
  } finally {
    connection.close();
  }
}

async function tablesIn(folder: string): Promise<unknown[]> {
  const text = DIALECT === 'pg' ? "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'" : "SELECT name FROM sqlite_schema WHERE type = 'table'";
  return (await ask(folder, text)).map(({ name }) => name);
}

/** A folder whose database this version of Keyturn made, with one account; its server was killed. */
async function usedDatabase(): Promise<string> {
  const folder = temporaryFolder();
  const server = await startServer({ DATA_DIR: folder });
  expect((await server.post('/auth/register', { username: 'john', password: PASSWORD })).status).toBe(201);
  await server.stop('SIGKILL');
  return folder;
}

test('a migration may take longer than any time-out: the log says that it runs, a second copy says that it waits, and both then serve', async () => {
  const DATA_DIR = await usedDatabase();
  const newer = makeNewerKeyturn(SLOW_MIGRATION);
  const first = await launch({ DATA_DIR }, newer);
  await expect.poll(() => first.output(), PATIENCE).toContain('"migration_running"');
  first.pause(); // however long the second takes to start
  const second = await launch({ DATA_DIR }, newer);
  await expect.poll(() => second.output(), PATIENCE).toContain('"migration_waiting"');
  expect(first.output()).not.toContain('"migration_done"');
  first.resume();
  for (const { output } of [first, second]) await expect.poll(() => output(), PATIENCE).toContain('"started"');
  expect(first.output()).toContain('"migration_done"');
  expect(second.output()).not.toContain('"migration_running"');
  expect(await tablesIn(DATA_DIR)).toEqual(expect.arrayContaining(['first_half', 'second_half']));
  expect(await ask(DATA_DIR, 'SELECT username FROM users')).toEqual([{ username: 'john' }]);
});

test('a migration that is killed in the middle leaves the database as it was, and the next start does it whole', async () => {
  const DATA_DIR = await usedDatabase();
  const newer = makeNewerKeyturn(SLOW_MIGRATION);
  const before = await tablesIn(DATA_DIR);
  const first = await launch({ DATA_DIR }, newer);
  await expect.poll(() => first.output(), PATIENCE).toContain('"migration_running"');
  await first.kill();
  expect(await tablesIn(DATA_DIR)).toEqual(before);
  const next = await launch({ DATA_DIR }, newer);
  await expect.poll(() => next.output(), PATIENCE).toContain('"started"');
  expect(await tablesIn(DATA_DIR)).toEqual(expect.arrayContaining(['first_half', 'second_half']));
  expect(await ask(DATA_DIR, 'SELECT username FROM users')).toEqual([{ username: 'john' }]);
});

/** What the server says, in one line, when it refuses to start. */
async function refusalOf(env: Record<string, string>): Promise<string> {
  const refused = await launch(env);
  expect(await refused.ended).toBe(1);
  expect(refused.output().trim().split('\n')).toHaveLength(1);
  return refused.output();
}

test('a database that a newer Keyturn wrote is refused in one sentence, and not changed', async () => {
  const DATA_DIR = await usedDatabase();
  const newer = await launch({ DATA_DIR }, makeNewerKeyturn(QUICK_MIGRATION));
  await expect.poll(() => newer.output(), PATIENCE).toContain('"started"');
  await newer.kill();
  const migrations = `SELECT * FROM ${DIALECT === 'pg' ? 'keyturn_migrations' : '__drizzle_migrations'}`;
  const before = await ask(DATA_DIR, migrations);
  expect(await refusalOf({ DATA_DIR })).toMatch(/^Keyturn cannot start\. DATABASE_URL: .+ cannot be opened \(the database was written by a newer Keyturn: run that version, or a newer one\)$/m);
  expect(await ask(DATA_DIR, migrations)).toEqual(before);
});

test("a database that holds another program's tables is refused in one sentence, and not changed", async () => {
  const DATA_DIR = temporaryFolder();
  const { DATABASE_URL } = await databaseFor(DATA_DIR);
  const foreign = 'CREATE TABLE users (name text)';
  if (DATABASE_URL) await query(DATABASE_URL, foreign);
  else new Database(join(DATA_DIR, 'keyturn.db')).exec(foreign).close();
  expect(await refusalOf({ DATA_DIR })).toMatch(/^Keyturn cannot start\. DATABASE_URL: .+ \(the database holds tables of another program: name another database\)$/m);
  expect(await tablesIn(DATA_DIR)).toEqual(['users']);
});

if (DIALECT === 'pg') test('a database that accepts connections and never answers is given up in a bounded time, in one sentence', async () => {
  const silent = createServer().listen(0, '127.0.0.1');
  await once(silent, 'listening');
  onTestFinished(() => void silent.close());
  const { port } = silent.address() as { port: number };
  const SECRET_KEY = 'YSBrZXkgZm9yIHRlc3RzIG9uIFBvc3RncmVTUUwgb25seQ';
  const said = await refusalOf({ DATA_DIR: temporaryFolder(), SECRET_KEY, DATABASE_URL: inject('postgres')!.replace(/:\d+$/, `:${port}/keyturn`) });
  expect(said).toMatch(/ cannot be opened \(it accepts the connection, and does not answer within 10 seconds\)$/m);
}, 60_000);

if (DIALECT === 'sqlite') test('before a migration a copy of the file is kept, with what was in its WAL, for its owner alone; the next migration replaces it', async () => {
  const DATA_DIR = await usedDatabase();
  const copies = () => readdirSync(DATA_DIR).filter((name) => /^keyturn\.db\.before-migration-\d{8}T\d{6}Z$/.test(name));
  expect(copies()).toEqual([]); // none of a new database
  const migrate = async (statements: string[]) => {
    const server = await launch({ DATA_DIR }, makeNewerKeyturn(statements));
    await expect.poll(() => server.output(), PATIENCE).toContain('"started"');
    await server.kill();
    expect(copies()).toHaveLength(1);
    expect(server.output()).toContain(`"copy":"${join(DATA_DIR, copies()[0]!)}"`);
    return join(DATA_DIR, copies()[0]!);
  };
  const copy = await migrate(QUICK_MIGRATION);
  expect(statSync(copy).mode & 0o777).toBe(0o600);
  const madeAt = statSync(copy).mtimeMs;
  const connection = new Database(copy, { readonly: true });
  expect(connection.pragma('integrity_check', { simple: true })).toBe('ok');
  expect(connection.prepare('SELECT username FROM users').pluck().all()).toEqual(['john']);
  expect(connection.prepare("SELECT count(*) FROM sqlite_schema WHERE name = 'first_half'").pluck().get()).toBe(0);
  connection.close();
  const writer = new Database(join(DATA_DIR, 'keyturn.db'));
  writer.exec('DELETE FROM __drizzle_migrations WHERE created_at = (SELECT max(created_at) FROM __drizzle_migrations); DROP TABLE first_half');
  writer.close();
  const next = await migrate(QUICK_MIGRATION); // its name is the same where both are made within a second
  expect(statSync(next).mtimeMs).toBeGreaterThan(madeAt);
  expect(readdirSync(DATA_DIR).filter((name) => name.endsWith('.part'))).toEqual([]);
});
