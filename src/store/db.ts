import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { migrate } from 'drizzle-orm/better-sqlite3/migrator';
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core';
import * as pgSchema from './schema/pg.ts';
import * as sqliteSchema from './schema/sqlite.ts';

/**
 * The one file that knows dialects. Queries are written once, against PostgreSQL's builder, which offers only `await`;
 * both dialects honour that. The two schemas must have equal row types for this file to compile.
 */
export type QueryBuilder = PgDatabase<PgQueryResultHKT>;
export type Schema = typeof pgSchema;
type PgRows = { [Table in keyof Schema]: Schema[Table]['$inferSelect'] };
type SqliteRows = { [Table in keyof typeof sqliteSchema]: (typeof sqliteSchema)[Table]['$inferSelect'] };
type Equal<A, B> = [A, B] extends [B, A] ? true : never;
export const schemasAgree: Equal<PgRows, SqliteRows> = true;

type Value = string | number | null;
export type Values = Record<string, Value>;
type Query<Row> = { prepare(name: string): { execute(values?: Values): Promise<Row[]> } };

/** A statement that is prepared once. Writes end in RETURNING, so that their rows tell what they did. */
export type Statement<Row> = { execute(values: Values): Row[] };
/** A step of a transaction; one that `must` and yields no row undoes the whole list. */
export type Step = { statement: Statement<unknown>; values: Values; must?: true };

export type Db = ReturnType<typeof openDb>;

/** Opens the database, brings its schema up to date, and asserts that a commit is on disk before it is answered. */
export function openDb(path: string) {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const connection = new Database(path, { timeout: 2000 });
  const db = drizzle(connection);
  configure(connection);
  migrateOnce(() => migrate(db, { migrationsFolder: new URL('../../drizzle/sqlite', import.meta.url).pathname }));
  const commitInGroup = groupCommit(connection);
  const query = db as unknown as QueryBuilder;
  return {
    schema: sqliteSchema as unknown as Schema,

    prepare<Row>(name: string, build: (query: QueryBuilder) => Query<Row>): Statement<Row> {
      const prepared = build(query).prepare(name) as unknown as { execute(values: Values): { sync(): Row[] } };
      return { execute: (values) => prepared.execute(values).sync() };
    },

    /** Resolves with the rows of a statement that writes nothing. */
    async read<Row>(statement: Statement<Row>, values: Values): Promise<Row[]> {
      return statement.execute(values);
    },

    /** Resolves with the rows of one writing statement, after they are durable. */
    write<Row>(statement: Statement<Row>, values: Values): Promise<Row[]> {
      return commitInGroup(() => statement.execute(values));
    },

    /**
     * A transaction is a list of statements, never a callback: it cannot wait for anything while it holds the lock.
     * Resolves, after they are durable, with each step's rows; with null, and nothing written, if a `must` step had none.
     */
    async transact(steps: Step[]): Promise<unknown[][] | null> {
      try {
        return await commitInGroup(() => steps.map(runStep));
      } catch (error) {
        if (error === UNDONE) return null;
        throw error;
      }
    },

    close() {
      connection.close();
    },
  };
}

const UNDONE = new Error('a step of the transaction yielded no row');

function runStep({ statement, values, must }: Step): unknown[] {
  const rows = statement.execute(values);
  if (must && rows.length === 0) throw UNDONE;
  return rows;
}

/**
 * WAL with synchronous=FULL, set in this order: better-sqlite3 is compiled to fall back to NORMAL in WAL mode, and then
 * a power cut brings back sessions whose end was already answered.
 */
function configure(connection: Database.Database) {
  const settings = { journal_mode: 'wal', synchronous: 2, foreign_keys: 1, fullfsync: 1, checkpoint_fullfsync: 1 };
  for (const [name, value] of Object.entries(settings)) connection.pragma(`${name} = ${value}`);
  for (const [name, value] of Object.entries(settings)) {
    const actual = connection.pragma(name, { simple: true });
    if (actual !== value) throw new Error(`SQLite did not take ${name}=${value} (it says ${String(actual)}); is the database on a network file system?`);
  }
}

/** Two processes that start together may both try; the one that lost finds the work done when it looks again. */
function migrateOnce(run: () => void) {
  try {
    run();
  } catch {
    /* v8 ignore next -- @preserve reached only in a race of processes, which coverage does not see */
    run();
  }
}

/**
 * Group commit: the writes that arrive in one turn of the event loop share one transaction and one flush to disk, each
 * in a savepoint of its own, so that one that fails takes no other with it. Answers go out after COMMIT.
 */
function groupCommit(connection: Database.Database) {
  type Unit = { run(): unknown; resolve(result: never): void; reject(error: unknown): void };
  const statement = (sql: string) => connection.prepare(sql);
  const begin = statement('BEGIN IMMEDIATE');
  const commit = statement('COMMIT');
  const rollback = statement('ROLLBACK');
  const savepoint = statement('SAVEPOINT unit');
  const release = statement('RELEASE unit');
  const undo = statement('ROLLBACK TO unit');
  let waiting: Unit[] = [];

  function runUnit(unit: Unit): () => void {
    savepoint.run();
    try {
      const result = unit.run() as never;
      release.run();
      return () => unit.resolve(result);
    } catch (error) {
      if (!connection.inTransaction) throw error;
      undo.run();
      release.run();
      return () => unit.reject(error);
    }
  }

  function flush() {
    const units = waiting;
    waiting = [];
    let settle: (() => void)[];
    try {
      begin.run();
      settle = units.map(runUnit);
      commit.run();
    } catch (error) {
      if (connection.inTransaction) rollback.run();
      settle = units.map((unit) => () => unit.reject(error));
    }
    for (const answer of settle) answer();
  }

  return <Result>(run: () => Result) => new Promise<Result>((resolve, reject) => {
    if (waiting.length === 0) setImmediate(flush);
    waiting.push({ run, resolve, reject });
  });
}
