import { existsSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { type Db, DatabaseAway, type Opening, type QueryBuilder, Refusal, type Schema, type Statement, type Step, UNDONE, type Values } from './db.ts';
import { drizzle } from './drizzle-sqlite.ts';
import { migrateSqlite, pendingIn } from './migrate-sqlite.ts';
import * as schema from './schema/sqlite.ts';
import { watchNames } from './sqlite-files.ts';
import { groupCommit, groupReads } from './sqlite-groups.ts';

export { MIGRATIONS } from './migrate-sqlite.ts';
/** While it opens the database, it waits for others that do. */
const OPEN_TIMEOUT_MS = 2000;
/** Afterwards nothing waits inside SQLite, where the whole process would stand still; writes are tried again by timers. */
const LOCK_TIMEOUT_MS = 5;
/** of 4 KiB; 64 MiB at most: what a thousand users of a million touch does not fit into SQLite's usual 16 */
const CACHE_PAGES = 16_384;
/** The WAL is moved into the database when it has so many: changes that are spread over a large one are then moved together. */
const WAL_PAGES = 4_000;

/** The embedded database: one file in WAL mode, whose commits are on disk before they are answered. */
export async function openSqlite(path: string, opening: Opening = {}): Promise<Db> {
  const connection = await openConnection(path, opening);
  const db = drizzle(connection);
  const names = watchNames(path);
  const readInGroup = groupReads(connection, names);
  const commitInGroup = groupCommit(connection, names);
  const someUser = connection.prepare('SELECT 1 FROM users LIMIT 1');
  return {
    schema: schema as unknown as Schema,
    prepare(name, build) {
      type Prepared = { execute(values: Values): { sync(): never[] } };
      const prepared = build(db as unknown as QueryBuilder).prepare(name) as unknown as Prepared;
      return { name, run: (values) => prepared.execute(values).sync(), build };
    },
    read: (statement, values) => readInGroup(() => rowsOf(statement, values)),
    write: (statement, values) => commitInGroup(() => rowsOf(statement, values)),
    async transact(steps) {
      try {
        return await commitInGroup(() => steps.map(runStep));
      } catch (error) {
        if (error === UNDONE || isTaken(error)) return null;
        throw error;
      }
    },
    async check() {
      names.check();
      await readInGroup(() => orAway('readiness', () => someUser.get()));
    },
    readClock: null,
    async close() {
      connection.close();
    },
  };
}

/** A server makes what is not there; a command does not. */
async function openConnection(path: string, opening: Opening): Promise<Database.Database> {
  if (opening.role === 'command' && !existsSync(path)) throw new Refusal('there is no database of Keyturn yet: start the server once, which makes it');
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const connection = new Database(path, { timeout: OPEN_TIMEOUT_MS });
  try {
    pendingIn(connection, opening); // before anything is written into a database that is to be refused
    configure(connection);
    await migrateSqlite(connection, path, opening);
    connection.pragma(`busy_timeout = ${LOCK_TIMEOUT_MS}`);
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** Statements of this dialect run at once. */
function rowsOf<Row>(statement: Statement<Row>, values: Values): Row[] {
  return orAway(statement.name, () => statement.run(values) as Row[]);
}

/** Returns how many rows the step changed. */
function runStep({ statement, values, must }: Step): number {
  const outcome = rowsOf(statement, values) as unknown[] | Database.RunResult;
  const count = Array.isArray(outcome) ? outcome.length : outcome.changes;
  if (must && count === 0) throw UNDONE;
  return count;
}

function isTaken(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code === 'SQLITE_CONSTRAINT_UNIQUE';
}

/** SQLite's own errors, but one of a constraint, mean that the file cannot be had: disk full, input or output failed, a table is gone. */
function orAway<Result>(statement: string, run: () => Result): Result {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof Database.SqliteError) || error.code.startsWith('SQLITE_CONSTRAINT')) throw error;
    throw new DatabaseAway(error.code, { code: error.code, statement, cause: error });
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
