import { readdirSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import type { Opening } from './db.ts';
import { getTableName } from './drizzle.ts';
import { draftBeside, flush } from './drafts.ts';
import { findPending, type Found, type Migration, MOVE_MARK } from './migrations.ts';
import * as schema from './schema/sqlite.ts';
import { isBusy } from './sqlite-files.ts';

export const MIGRATIONS = fileURLToPath(new URL('../../drizzle/sqlite', import.meta.url));
const LOOK_EVERY_MS = 100;
const TELL_EVERY_MS = 60_000;
const COPY = '.before-migration-';

/**
 * The migrations that the database still needs; reads only.
 * @throws Refusal when it must not be used
 */
export function pendingIn(connection: Database.Database, { role = 'server' }: Opening): Migration[] {
  return findPending(MIGRATIONS, inspect(connection), role);
}

/** Whether the database was the target of a move that has not finished. */
export function hasMark(connection: Database.Database): boolean {
  return namesIn(connection).has(MOVE_MARK);
}

function namesIn(connection: Database.Database): Set<unknown> {
  return new Set(connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all());
}

function inspect(connection: Database.Database): Found {
  const names = namesIn(connection);
  const latest = names.has('__drizzle_migrations') ? Number(connection.prepare('SELECT max(created_at) FROM __drizzle_migrations').pluck().get()) : 0;
  const foreign = latest === 0 ? Object.values(schema).some((table) => names.has(getTableName(table))) : !names.has('users') || !names.has('sessions');
  return { latest, foreign, halfMoved: names.has(MOVE_MARK) };
}

/**
 * Applies what is missing in one transaction, one process at a time, and before that keeps a copy of a database that has
 * rows. A migration may take as long as it needs; a process that is killed in it leaves the database as it was.
 * @throws Refusal when the database must not be used
 * @throws Error when there is no room for the copy; nothing was changed then
 */
export async function migrateSqlite(connection: Database.Database, path: string, opening: Opening): Promise<void> {
  if (pendingIn(connection, opening).length === 0) return;
  connection.pragma('foreign_keys = OFF'); // a table that is made anew is dropped meanwhile; only outside a transaction
  await takeTurn(connection, opening);
  try {
    const pending = pendingIn(connection, opening);
    if (pending.length > 0) await apply(connection, path, pending, opening);
    connection.exec('COMMIT');
  } finally {
    if (connection.inTransaction) connection.exec('ROLLBACK');
    connection.pragma('foreign_keys = ON');
  }
}

async function takeTurn(connection: Database.Database, { onMigration }: Opening) {
  const started = performance.now();
  let told = -TELL_EVERY_MS;
  while (!begin(connection)) {
    const waited = performance.now() - started;
    if (waited - told >= TELL_EVERY_MS) {
      onMigration?.({ phase: 'waiting', waitedSeconds: Math.round(waited / 1000) });
      told = waited;
    }
    await pause(LOOK_EVERY_MS);
  }
}

/** False while another process writes. */
function begin(connection: Database.Database): boolean {
  try {
    connection.exec('BEGIN IMMEDIATE');
    return true;
  } catch (error) {
    if (!isBusy(error)) throw error;
    return false;
  }
}

async function apply(connection: Database.Database, path: string, pending: Migration[], { role, onMigration }: Opening) {
  const started = performance.now();
  if (inspect(connection).latest > 0 && role !== 'restore') onMigration?.({ phase: 'copied', copy: await keepCopy(connection, path) });
  onMigration?.({ phase: 'running', migrations: pending.length });
  await nextTurn(); // the log's line goes out before the migration blocks this thread
  connection.exec('CREATE TABLE IF NOT EXISTS __drizzle_migrations (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at numeric)');
  const done = connection.prepare('INSERT INTO __drizzle_migrations (hash, created_at) VALUES (?, ?)');
  for (const { sql, folderMillis, hash } of pending) {
    for (const statement of sql) connection.exec(statement);
    done.run(hash, folderMillis);
  }
  const orphans = connection.pragma('foreign_key_check') as unknown[];
  if (orphans.length > 0) throw new Error(`the migration would leave ${orphans.length} rows that refer to rows that are missing`);
  onMigration?.({ phase: 'done', tookSeconds: Math.round((performance.now() - started) / 1000) });
}

/**
 * Copies the database as it is, with what is in its WAL, to a file beside it, mode 0600. The copy of an earlier migration is
 * deleted then, so that there is one at most. The caller holds the write lock.
 */
async function keepCopy(connection: Database.Database, path: string): Promise<string> {
  const copy = `${path}${COPY}${new Date().toISOString().replace(/[-:]|\.\d+/g, '')}`;
  const bytes = Number(connection.pragma('page_count', { simple: true })) * Number(connection.pragma('page_size', { simple: true }));
  const { bavail, bsize } = statfsSync(dirname(path));
  const noRoom = (cause?: unknown) => new Error(`there is no room for the copy of the database that is kept before a migration: ${
    Math.ceil(bytes / 1_000_000)} MB are needed in ${dirname(path)}`, { cause });
  if (bavail * bsize < bytes) throw noRoom();
  const draft = draftBeside(path);
  const reader = new Database(path, { readonly: true });
  try {
    await reader.backup(draft.path);
    draft.settle();
    renameSync(draft.path, copy);
    flush(dirname(path));
  } catch (error) {
    throw error instanceof Database.SqliteError ? noRoom(error) : error;
  } finally {
    reader.close();
    draft.discard();
  }
  for (const name of readdirSync(dirname(path))) {
    if (name.startsWith(basename(path) + COPY) && name !== basename(copy)) rmSync(join(dirname(path), name));
  }
  return copy;
}
