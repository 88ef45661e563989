import { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import type { Opening } from './db.ts';
import { getTableName } from './drizzle.ts';
import { findPending, type Migration, MOVE_MARK } from './migrations.ts';
import * as schema from './schema/pg.ts';

export const MIGRATIONS = fileURLToPath(new URL('../../drizzle/pg', import.meta.url));
/** "keyturn" in ASCII: the lock by which processes that start together take turns */
const MIGRATION_LOCK = BigInt('0x6b65797475726e').toString();
/** within it the database must accept the connection, and answer each statement that is not a migration's */
const ANSWER_MS = 10_000;
const LOOK_EVERY_MS = 250;
const TELL_EVERY_MS = 60_000;

/**
 * Checks what the database is, and applies what is missing in one transaction, one process at a time. A migration may take
 * as long as it needs; a process that is killed in it leaves the database as it was.
 * @throws Refusal when the database must not be used
 * @throws Error when it does not answer within 10 seconds
 */
export async function migratePostgres(url: string, opening: Opening): Promise<void> {
  const socket = new Socket();
  const client = new pg.Client({
    connectionString: url, application_name: 'keyturn migration', keepAlive: true, connectionTimeoutMillis: ANSWER_MS, stream: () => socket,
  });
  client.on('error', () => undefined); // the statement that follows fails, and says so
  try {
    await client.connect();
    if ((await pendingIn(client, opening)).length > 0) await migrate(client, opening);
    await client.end();
  } catch (error) {
    throw isLate(error) ? new Error(`it accepts the connection, and does not answer within ${ANSWER_MS / 1000} seconds`, { cause: error }) : error;
  } finally {
    socket.destroy(); // a database that does not answer would not close the connection, either
  }
}

/** The words of pg for a connection and for a statement. */
function isLate(error: unknown): boolean {
  return error instanceof Error && /^(timeout expired|Query read timeout)$/.test(error.message);
}

async function ask<Row>(client: pg.Client, text: string): Promise<Row[]> {
  return (await client.query({ text, query_timeout: ANSWER_MS } as pg.QueryConfig)).rows as Row[];
}

async function pendingIn(client: pg.Client, { role = 'server' }: Opening): Promise<Migration[]> {
  // Not by to_regclass: it may answer from a cache that has not heard of another process's commit
  const tables = await ask<{ name: string }>(client, 'SELECT tablename AS name FROM pg_tables WHERE schemaname = ANY (current_schemas(false))');
  const names = new Set(tables.map(({ name }) => name));
  const [last] = names.has('keyturn_migrations') ? await ask<{ latest: number | null }>(client, 'SELECT max(created_at) AS latest FROM keyturn_migrations') : [];
  const latest = last?.latest ?? 0;
  const foreign = latest === 0 && Object.values(schema).some((table) => names.has(getTableName(table)));
  return findPending(MIGRATIONS, { latest, foreign, halfMoved: names.has(MOVE_MARK) }, role);
}

async function migrate(client: pg.Client, opening: Opening) {
  await ask(client, 'BEGIN ISOLATION LEVEL READ COMMITTED'); // so that it sees what another process has just committed
  await ask(client, 'SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0');
  await noticeAnEnd(client);
  await takeTurn(client, opening);
  const pending = await pendingIn(client, opening);
  if (pending.length > 0) await apply(client, pending, opening);
  await ask(client, 'COMMIT');
}

/** PostgreSQL, where it can, looks every few seconds whether this process still lives, and undoes a statement whose owner was killed. */
async function noticeAnEnd(client: pg.Client) {
  await ask(client, `DO $$ BEGIN
    PERFORM set_config('client_connection_check_interval', '5s', true);
  EXCEPTION WHEN OTHERS THEN NULL; END $$`);
}

async function takeTurn(client: pg.Client, { onMigration }: Opening) {
  const started = performance.now();
  for (let told = -TELL_EVERY_MS; ;) {
    const [lock] = await ask<{ taken: boolean }>(client, `SELECT pg_try_advisory_xact_lock(${MIGRATION_LOCK}) AS taken`);
    if (lock?.taken) return;
    const waited = performance.now() - started;
    if (waited - told >= TELL_EVERY_MS) {
      onMigration?.({ phase: 'waiting', waitedSeconds: Math.round(waited / 1000) });
      told = waited;
    }
    await pause(LOOK_EVERY_MS);
  }
}

async function apply(client: pg.Client, pending: Migration[], { onMigration }: Opening) {
  const started = performance.now();
  onMigration?.({ phase: 'running', migrations: pending.length });
  await client.query('CREATE TABLE IF NOT EXISTS keyturn_migrations (created_at bigint PRIMARY KEY, hash text NOT NULL)');
  for (const { sql, folderMillis, hash } of pending) {
    for (const statement of sql) await client.query(statement);
    await client.query('INSERT INTO keyturn_migrations (created_at, hash) VALUES ($1, $2)', [folderMillis, hash]);
  }
  onMigration?.({ phase: 'done', tookSeconds: Math.round((performance.now() - started) / 1000) });
}
