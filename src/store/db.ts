import type { SQL } from 'drizzle-orm';
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core';
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

/** A statement, written once and prepared once. A write whose rows somebody reads ends in RETURNING. */
export type Statement<Row> = { name: string; run(values: Values): Row[] | Promise<Row[]>; build(query: QueryBuilder): Query<Row> };
/** A step of a transaction. One that `must` and changes no row undoes the whole list. */
export type Step = { statement: Statement<unknown>; values: Values; must?: true };

/** What a failure tells: the database's code (a SQLSTATE, SQLite's, or Node's) and the statement's name. Never a parameter. */
type FailureDetails = { code?: string | undefined; statement?: string | undefined; cause?: unknown };

class StoreFailure extends Error {
  readonly code: string | undefined;
  readonly statement: string | undefined;

  constructor(message: string, { code, statement, cause }: FailureDetails = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.code = code;
    this.statement = statement;
  }
}

/** The database does not answer, not in time, or cannot be used as it is. What was asked may or may not have been done. */
export class DatabaseAway extends StoreFailure {}
/** The database refused a statement for what is in it: a mistake of Keyturn's. */
export class StatementFailed extends StoreFailure {}
/** What was asked would do harm, and was not begun: a database in use, a newer one, a target that holds something else. */
export class Refusal extends Error {}

export type Db = {
  schema: Schema;
  prepare<Row>(name: string, build: (query: QueryBuilder) => Query<Row>): Statement<Row>;
  /** Resolves with the rows of a statement that writes nothing. @throws DatabaseAway */
  read<Row>(statement: Statement<Row>, values: Values): Promise<Row[]>;
  /** Resolves with the rows of one writing statement, after they are durable. @throws DatabaseAway */
  write<Row>(statement: Statement<Row>, values: Values): Promise<Row[]>;
  /**
   * A transaction is a list of statements, never a callback: it cannot wait for anything while it holds locks.
   * Resolves, after they are durable, with the number of rows that each step changed; with null, and nothing written, if
   * a `must` step changed none, or a row would repeat a value that is to be unique.
   * @throws DatabaseAway
   */
  transact(steps: Step[]): Promise<number[] | null>;
  /** Resolves when the database answers and can be written. @throws DatabaseAway */
  check(): Promise<void>;
  /** Reads the database's own clock, epoch milliseconds; null where the database is in this process, and has the same one. */
  readClock: (() => Promise<number>) | null;
  close(): Promise<void>;
};

/** Where the data is. Times are milliseconds. */
export type DatabaseOptions =
  | { dialect: 'sqlite'; path: string }
  | {
    dialect: 'postgres';
    url: string;
    /** applies migrations, where the role of `url` may not change tables */
    migrationUrl?: string;
    poolSize: number;
    timeoutMs: number;
  };

/**
 * For what a database is opened. `server` (without a role) makes and migrates it; `move` does so too, and may write a half-moved
 * one; `restore` migrates a draft, of which no copy is kept; `command` changes no schema.
 */
export type OpeningRole = 'server' | 'move' | 'restore' | 'command';
export type Opening = {
  role?: OpeningRole;
  /** An idle connection was lost. */
  onConnectionLost?: (error: Error) => void;
  /** A migration goes on to its next phase, which may take long. */
  onMigration?: (progress: MigrationProgress) => void;
};
export type MigrationProgress =
  /** another process holds the lock for migrations; told again every minute */
  | { phase: 'waiting'; waitedSeconds: number }
  | { phase: 'copied'; copy: string }
  | { phase: 'running'; migrations: number }
  | { phase: 'done'; tookSeconds: number };

/**
 * Opens the database; a server brings its schema up to date. Only the dialect that is used is loaded.
 * @throws Refusal in one sentence: the database is another program's, newer, half-moved, or (for a command) not up to date
 */
export async function openDb(options: DatabaseOptions, opening: Opening = {}): Promise<Db> {
  if (options.dialect === 'sqlite') return (await import('./sqlite.ts')).openSqlite(options.path, opening);
  return (await import('./postgres.ts')).openPostgres(options, opening);
}

/**
 * A text to be given, in the condition of a join. Without the cast, SQLite plans a join anew whenever it is given another value,
 * for the plan might depend on it: five times the cost of the join.
 */
export function textAt(name: string): SQL<string> {
  return sql`CAST(${sql.placeholder(name)} AS text)`;
}

/** A write for transactions. They count its rows, and nobody reads them. */
export function counted(write: { prepare(name: string): { execute(values?: Values): Promise<unknown> } }): Query<never> {
  return write as Query<never>;
}

/** For so long a time may lie ahead because the clocks of two servers differ. */
export const CLOCK_SKEW_MS = 60_000;

/** Rows that one statement purges: few, because SQLite deletes them while every request waits. */
export const PURGED_AT_ONCE = 250;

/** What a transaction throws inside to be undone, when a step that `must` had no row. */
export const UNDONE = new Error('a step of the transaction yielded no row');
