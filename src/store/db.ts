import type { SQL } from 'drizzle-orm';
import type { PgDatabase, PgQueryResultHKT, PgSelect } from 'drizzle-orm/pg-core';
import { sql } from './drizzle.ts';
import type * as pgSchema from './schema/pg.ts';
import type * as sqliteSchema from './schema/sqlite.ts';

/**
 * What the statements are written against, on both dialects. Queries are written once, with PostgreSQL's builder, which
 * offers only `await`; SQLite's honours that. The two schemas must have equal row types for this file to compile.
 */
export type QueryBuilder = PgDatabase<PgQueryResultHKT>;
export type Schema = typeof pgSchema;
type PgRows = { [Table in keyof Schema]: Schema[Table]['$inferSelect'] };
type SqliteRows = { [Table in keyof typeof sqliteSchema]: (typeof sqliteSchema)[Table]['$inferSelect'] };
type Equal<A, B> = [A, B] extends [B, A] ? true : never;
export const schemasAgree: Equal<PgRows, SqliteRows> = true;

type Value = string | number | null;
export type Values = Record<string, Value>;
export type Query<Row> = { prepare(name: string): { execute(values?: Values): Promise<Row[]> } };

/** A statement, written once and prepared once. Writes end in RETURNING, so that their rows tell what they did. */
export type Statement<Row> = { run(values: Values): Row[] | Promise<Row[]>; build(query: QueryBuilder): Query<Row> };
/** A step of a transaction; one that `must` and yields no row undoes the whole list. */
export type Step = { statement: Statement<unknown>; values: Values; must?: true };

/** The database does not answer, or not in time. What was asked may or may not have been done. */
export class DatabaseAway extends Error {}

export type Db = {
  schema: Schema;
  prepare<Row>(name: string, build: (query: QueryBuilder) => Query<Row>): Statement<Row>;
  /** The rows of the select, protected against change until the transaction ends (SQLite has one writer at a time anyway). */
  locked<Select extends PgSelect>(select: Select): Select;
  /** Resolves with the rows of a statement that writes nothing. @throws DatabaseAway */
  read<Row>(statement: Statement<Row>, values: Values): Promise<Row[]>;
  /** Resolves with the rows of one writing statement, after they are durable. @throws DatabaseAway */
  write<Row>(statement: Statement<Row>, values: Values): Promise<Row[]>;
  /**
   * A transaction is a list of statements, never a callback: it cannot wait for anything while it holds locks.
   * Resolves, after they are durable, with each step's rows; with null, and nothing written, if a `must` step had none,
   * or a row would repeat a value that is to be unique.
   * @throws DatabaseAway
   */
  transact(steps: Step[]): Promise<unknown[][] | null>;
  close(): Promise<void>;
};

/** Where the data is. Times are milliseconds. */
export type DatabaseOptions =
  | { dialect: 'sqlite'; path: string }
  | { dialect: 'postgres'; url: string; poolSize: number; timeoutMs: number };

/** Opens the database and brings its schema up to date. Only the dialect that is used is loaded. */
export async function openDb(options: DatabaseOptions, onConnectionLost?: (error: Error) => void): Promise<Db> {
  if (options.dialect === 'sqlite') return (await import('./sqlite.ts')).openSqlite(options.path);
  return (await import('./postgres.ts')).openPostgres(options, onConnectionLost);
}

/**
 * A text to be given, in the condition of a join. Without the cast, SQLite plans a join anew whenever it is given another value,
 * for the plan might depend on it: five times the cost of the join.
 */
export function textAt(name: string): SQL<string> {
  return sql`CAST(${sql.placeholder(name)} AS text)`;
}

/** What a transaction throws inside to be undone, when a step that `must` had no row. */
export const UNDONE = new Error('a step of the transaction yielded no row');
