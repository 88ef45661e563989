import { statSync } from 'node:fs';
import Database from 'better-sqlite3';
import { Refusal } from './db.ts';
import { readMigrationFiles, sql } from './drizzle.ts';
import { SQLiteSyncDialect } from './drizzle-sqlite.ts';
import { hasMark } from './migrate-sqlite.ts';
import { HALF_MOVED } from './migrations.ts';
import { MIGRATIONS } from './sqlite.ts';
import { isBusy } from './sqlite-files.ts';
import { TABLES } from './tables.ts';

export { isBusy, Refusal };
const HOLD_TIMEOUT_MS = 1000;

/** Steps done, out of all; called often. */
export type OnProgress = (done: number, total: number) => void;

/**
 * Opens a database that no other connection has open, out of WAL mode, so that the one file holds everything, and keeps
 * every other process out until `release`. A server that starts meanwhile fails to.
 * @throws Refusal when it is in use
 */
export function holdAlone(path: string): { connection: Database.Database; release(): void } {
  const connection = new Database(path, { fileMustExist: true, timeout: HOLD_TIMEOUT_MS });
  try {
    const mode = connection.pragma('journal_mode = DELETE', { simple: true });
    if (mode !== 'delete') throw inUse(path);
    connection.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    connection.close();
    if (isBusy(error)) throw inUse(path);
    throw error instanceof Database.SqliteError && error.code === 'SQLITE_NOTADB' ? new Error(`${path} is not a database; move it away first`, { cause: error }) : error;
  }
  return {
    connection,
    release() {
      connection.exec('ROLLBACK');
      connection.pragma('journal_mode = WAL');
      connection.close();
    },
  };
}

export function inUse(path: string): Refusal {
  return new Refusal(`${path} is in use: stop the server (and what else has it open) first`);
}

/**
 * Reads every page, key and reference of a database; yields how many rows each table has.
 * @throws Error when it is not sound, not Keyturn's, or of a newer Keyturn
 */
export function verifyDatabase(connection: Database.Database): Record<string, number> {
  const problems = connection.pragma('integrity_check') as { integrity_check: string }[];
  if (problems[0]?.integrity_check !== 'ok') throw new Error(`it is damaged: ${problems[0]?.integrity_check ?? 'no answer'}`);
  const orphans = connection.pragma('foreign_key_check') as unknown[];
  if (orphans.length > 0) throw new Error(`it is damaged: ${orphans.length} rows refer to rows that are missing`);
  if (hasMark(connection)) throw new Refusal(HALF_MOVED);
  if (migrationOf(connection) > latestMigration(MIGRATIONS)) throw new Error('it was written by a newer Keyturn; update this one first');
  return countRows(connection);
}

/** When the last migration of the database was made; @throws Error when it is not one of Keyturn's. */
export function migrationOf(connection: Database.Database): number {
  const names = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all();
  if (!names.includes('__drizzle_migrations') || !names.includes('users') || !names.includes('sessions')) throw new Error('it is not a database of Keyturn');
  return Number(connection.prepare('SELECT max(created_at) FROM __drizzle_migrations').pluck().get());
}

/** When the newest migration of the folder was made; what a database must have to be of this version. */
export function latestMigration(migrationsFolder: string): number {
  return readMigrationFiles({ migrationsFolder }).at(-1)?.folderMillis ?? 0;
}

/** A table that an older database does not have yet is left out. */
function countRows(connection: Database.Database): Record<string, number> {
  const names = new Set(connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all());
  return Object.fromEntries(TABLES.filter(({ name }) => names.has(name)).map(({ name, sqlite }) =>
    [name, connection.prepare(new SQLiteSyncDialect().sqlToQuery(sql`SELECT count(*) FROM ${sqlite}`).sql).pluck().get() as number]));
}

export function isSameFile(a: string, b: string): boolean {
  const [left, right] = [a, b].map((path) => statSync(path, { throwIfNoEntry: false }));
  return left !== undefined && right !== undefined && left.dev === right.dev && left.ino === right.ino;
}
