import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { type Db, DatabaseAway, type QueryBuilder, type Schema, type Statement, type Step, UNDONE, type Values } from './db.ts';
import { drizzle, migrate } from './drizzle-sqlite.ts';
import * as schema from './schema/sqlite.ts';

const LOCK_TIMEOUT_MS = 2000;
/** more than that gain nothing, and outlive the memory for short-lived objects */
const READS_AT_ONCE = 32;
/** of 4 KiB; 64 MiB at most: what a thousand users of a million touch does not fit into SQLite's usual 16 */
const CACHE_PAGES = 16_384;
/** The WAL is moved into the database when it has so many: changes that are spread over a large one are then moved together. */
const WAL_PAGES = 4_000;
export const MIGRATIONS = fileURLToPath(new URL('../../drizzle/sqlite', import.meta.url));

/** The embedded database: one file in WAL mode, whose commits are on disk before they are answered. */
export async function openSqlite(path: string): Promise<Db> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const connection = new Database(path, { timeout: LOCK_TIMEOUT_MS });
  const db = drizzle(connection);
  configure(connection);
  migrateOnce(() => migrate(db, { migrationsFolder: MIGRATIONS }));
  const readInGroup = groupReads(connection);
  const commitInGroup = groupCommit(connection);
  return {
    schema: schema as unknown as Schema,
    prepare(name, build) {
      type Prepared = { execute(values: Values): { sync(): never[] } };
      const prepared = build(db as unknown as QueryBuilder).prepare(name) as unknown as Prepared;
      return { run: (values) => prepared.execute(values).sync(), build };
    },
    locked: (select) => select,
    read: (statement, values) => readInGroup(() => orAway(() => rowsOf(statement, values))),
    write: (statement, values) => commitInGroup(() => rowsOf(statement, values)),
    async transact(steps) {
      try {
        return await commitInGroup(() => steps.map(runStep));
      } catch (error) {
        if (error === UNDONE || isTaken(error)) return null;
        throw error;
      }
    },
    async close() {
      connection.close();
    },
  };
}

/** Statements of this dialect run at once. */
function rowsOf<Row>(statement: Statement<Row>, values: Values): Row[] {
  return statement.run(values) as Row[];
}

function runStep({ statement, values, must }: Step): unknown[] {
  const rows = rowsOf(statement, values);
  if (must && rows.length === 0) throw UNDONE;
  return rows;
}

function isTaken(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code === 'SQLITE_CONSTRAINT_UNIQUE';
}

/** SQLite's own errors mean that the file cannot be had: locked for too long, disk full, input or output failed. */
function orAway<Result>(run: () => Result): Result {
  try {
    return run();
  } catch (error) {
    throw error instanceof Database.SqliteError ? new DatabaseAway(error.code, { cause: error }) : error;
  }
}

/**
 * WAL with synchronous=FULL, set in this order: better-sqlite3 is compiled to fall back to NORMAL in WAL mode, and then
 * a power cut brings back sessions whose end was already answered.
 */
function configure(connection: Database.Database) {
  const settings = { journal_mode: 'wal', synchronous: 2, foreign_keys: 1, fullfsync: 1, checkpoint_fullfsync: 1, cache_size: CACHE_PAGES, wal_autocheckpoint: WAL_PAGES };
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

type Unit = { run: () => unknown; resolve: (result: never) => void; reject: (error: unknown) => void };
type Answer = () => void;

/** Takes what arrives in one turn of the event loop, and has it all done and answered at its end, or when there are `most`. */
function byTurn(doAll: (units: Unit[]) => Answer[], most = Number.POSITIVE_INFINITY) {
  let waiting: Unit[] = [];

  function flush() {
    if (waiting.length === 0) return; // there were `most`
    const units = waiting;
    waiting = [];
    let answers: Answer[];
    try {
      answers = doAll(units);
    } catch (error) {
      answers = units.map(({ reject }) => () => reject(new DatabaseAway('the transaction failed', { cause: error })));
    }
    for (const answer of answers) answer();
  }

  return <Result>(run: () => Result) => new Promise<Result>((resolve, reject) => {
    if (waiting.length === 0) setImmediate(flush);
    waiting.push({ run, resolve, reject });
    if (waiting.length === most) flush();
  });
}

/**
 * The reads of one turn share one snapshot, which sees all that was answered before. Taking and leaving one costs more than a
 * look-up; and answers that leave together cost half as much each, for they wake the client once.
 */
function groupReads(connection: Database.Database) {
  const begin = connection.prepare('BEGIN');
  const end = connection.prepare('ROLLBACK');

  function runUnit({ run, resolve, reject }: Unit): Answer {
    try {
      const rows = run() as never;
      return () => resolve(rows);
    } catch (error) {
      return () => reject(error);
    }
  }

  return byTurn((units) => {
    begin.run();
    const answers = units.map(runUnit);
    if (connection.inTransaction) end.run();
    return answers;
  }, READS_AT_ONCE);
}

/**
 * Group commit: the writes of one turn share one transaction and one flush to disk, each in a savepoint of its own, so that
 * one that fails takes no other with it. Answers go out after COMMIT.
 */
function groupCommit(connection: Database.Database) {
  const statement = (sql: string) => connection.prepare(sql);
  const begin = statement('BEGIN IMMEDIATE');
  const commit = statement('COMMIT');
  const rollback = statement('ROLLBACK');
  const savepoint = statement('SAVEPOINT unit');
  const release = statement('RELEASE unit');
  const undo = statement('ROLLBACK TO unit');

  function runUnit({ run, resolve, reject }: Unit): Answer {
    savepoint.run();
    try {
      const result = run() as never;
      release.run();
      return () => resolve(result);
    } catch (error) {
      if (!connection.inTransaction) throw error;
      undo.run();
      release.run();
      return () => reject(error);
    }
  }

  return byTurn((units) => {
    try {
      begin.run();
      const answers = units.map(runUnit);
      commit.run();
      return answers;
    } catch (error) {
      if (connection.inTransaction) rollback.run();
      throw error;
    }
  });
}
