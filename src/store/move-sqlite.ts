import { existsSync } from 'node:fs';
import Database from 'better-sqlite3';
import type { SQL } from 'drizzle-orm';
import { getTableColumns, sql } from './drizzle.ts';
import { drizzle, SQLiteSyncDialect } from './drizzle-sqlite.ts';
import { holdAlone, inUse, isBusy, latestMigration, migrationOf } from './files.ts';
import { CLEAR_MARK, SET_MARK } from './migrations.ts';
import { hasMark } from './migrate-sqlite.ts';
import type { End, Role } from './move.ts';
import { MIGRATIONS } from './sqlite.ts';
import { columnsOf, type Row, type Table } from './tables.ts';

/**
 * A SQLite file as an end of a move. No other process can use it meanwhile, unless it is `live`: then it is read as it is
 * now, whatever a server writes into it.
 * @throws Refusal when it is in use
 */
export async function openSqliteEnd(path: string, role: Role): Promise<End> {
  if (!existsSync(path)) throw new Error(`there is no database at ${path}`);
  const held = role === 'target' ? openForWriting(path) : role === 'live' ? openSnapshot(path) : holdAlone(path);
  const { connection } = held;
  const prepared = new Map<Table, ReturnType<typeof prepare>>();
  const of = (table: Table) => {
    const statements = prepared.get(table) ?? prepare(connection, table);
    prepared.set(table, statements);
    return statements;
  };
  const insertAll = connection.transaction((table: Table, rows: Row[]) => rows.reduce((count, row) => count + of(table).insert(row), 0));
  return {
    isCurrent: async () => migrationOf(connection) === latestMigration(MIGRATIONS),
    isMarked: async () => hasMark(connection),
    setMark: async (marked) => { connection.exec(marked ? SET_MARK : CLEAR_MARK); },
    count: async (table) => of(table).count.get() as number,
    readAfter: async (table, key, limit) => (key ? of(table).next.all(...key, limit) : of(table).first.all(limit)) as Row[],
    find: async (table, keys) => keys.map((key) => of(table).find.get(key) as Row | undefined).filter((row) => row !== undefined),
    insert: async (table, rows) => insertAll(table, rows),
    close: async () => held.release(),
  };
}

function prepare(connection: Database.Database, table: Table) {
  const { all, key, keyValues } = columnsOf(table, 'sqlite');
  const from = table.sqlite;
  const statement = (text: SQL) => connection.prepare(new SQLiteSyncDialect().sqlToQuery(text).sql);
  const { insert, order } = insertInto(connection, table);
  return {
    insert: (row: Row) => insert.run(order.map((at) => row[at])).changes,
    count: statement(sql`SELECT count(*) FROM ${from}`).pluck(),
    first: statement(sql`SELECT ${all} FROM ${from} ORDER BY ${key} LIMIT ${sql.placeholder('limit')}`).raw(),
    next: statement(sql`SELECT ${all} FROM ${from} WHERE (${key}) > (${keyValues}) ORDER BY ${key} LIMIT ${sql.placeholder('limit')}`).raw(),
    find: statement(sql`SELECT ${all} FROM ${from} WHERE (${key}) = (${keyValues})`).raw(),
  };
}

/** The statement, and where its parameters are in a Row. */
function insertInto(connection: Database.Database, table: Table) {
  const columns = Object.entries(getTableColumns(table.sqlite));
  const values = Object.fromEntries(columns.map(([property]) => [property, sql.placeholder(property)]));
  const text = drizzle(connection).insert(table.sqlite).values(values).onConflictDoNothing().toSQL().sql;
  return { insert: connection.prepare(text), order: columns.map(([, { name }]) => table.columns.indexOf(name)) };
}

function openSnapshot(path: string) {
  const connection = new Database(path, { readonly: true });
  connection.exec('BEGIN');
  return { connection, release: () => void connection.close() };
}

/** WAL, so that an interrupted move loses no more than a batch; with the exclusive lock, which keeps servers out. */
function openForWriting(path: string) {
  const connection = new Database(path, { timeout: 1000 });
  try {
    for (const setting of ['locking_mode = EXCLUSIVE', 'journal_mode = WAL', 'synchronous = FULL', 'foreign_keys = ON']) connection.pragma(setting);
    connection.exec('BEGIN IMMEDIATE; COMMIT');
  } catch (error) {
    connection.close();
    throw isBusy(error) ? inUse(path) : error;
  }
  return { connection, release: () => void connection.close() };
}
