import { fileURLToPath } from 'node:url';
import type { PgSelect } from 'drizzle-orm/pg-core';
import pg from 'pg';
import { type Db, DatabaseAway, type DatabaseOptions, type QueryBuilder, type Step, UNDONE } from './db.ts';
import { DrizzleQueryError, readMigrationFiles } from './drizzle.ts';
import { drizzle } from './drizzle-pg.ts';
import * as schema from './schema/pg.ts';

export const MIGRATIONS = fileURLToPath(new URL('../../drizzle/pg', import.meta.url));
/** "keyturn" in ASCII: the lock that processes starting together take turns by */
const MIGRATION_LOCK = '0x6b65797475726e';
/** serialization failure and deadlock: the database undid the transaction and asks to try again */
const TRY_AGAIN = new Set(['40001', '40P01']);
/** unique_violation */
const TAKEN = '23505';
const TRIES = 5;

pg.types.setTypeParser(pg.types.builtins.INT8, Number);

/**
 * PostgreSQL, or what speaks its protocol. READ COMMITTED is enough: compare-and-swap decides. Statements have no names
 * and no session state is kept, so a pooler in transaction mode may stand between. A lost connection is not retried,
 * because what was asked may have been done: the caller answers 503, and a repeated request finds out.
 */
export async function openPostgres({ url, poolSize, timeoutMs }: Extract<DatabaseOptions, { dialect: 'postgres' }>, onConnectionLost?: (error: Error) => void): Promise<Db> {
  const pool = new pg.Pool({
    connectionString: url, max: poolSize, connectionTimeoutMillis: timeoutMs, query_timeout: timeoutMs, keepAlive: true, application_name: 'keyturn',
  });
  pool.on('error', (error) => onConnectionLost?.(error)); // an error event without a listener would end the process
  await migrate(url);
  const query = drizzle(pool) as unknown as QueryBuilder;
  return {
    schema,
    prepare(_name, build) {
      const prepared = build(query).prepare('');
      return { run: (values) => prepared.execute(values), build };
    },
    locked: (select) => (select as PgSelect).for('share') as typeof select,
    read: (statement, values) => orAway(async () => statement.run(values)),
    write: (statement, values) => orAway(async () => statement.run(values)),
    transact: (steps) => orAway(() => orNull(() => (steps.length === 1 ? runAlone(steps[0] as Step) : runTogether(pool, steps)))),
    close: () => pool.end(),
  };
}

/** One statement is a transaction of its own, in one round trip. */
async function runAlone({ statement, values, must }: Step): Promise<unknown[][]> {
  const rows = await statement.run(values);
  if (must && rows.length === 0) throw UNDONE;
  return [rows];
}

async function runTogether(pool: pg.Pool, steps: Step[]): Promise<unknown[][]> {
  const client = await pool.connect();
  let broken: Error | undefined;
  const onError = (error: Error) => { broken = error; }; // without a listener it would end the process
  client.on('error', onError);
  try {
    await client.query('BEGIN');
    const query = drizzle(client) as unknown as QueryBuilder;
    const rows: unknown[][] = [];
    for (const { statement, values, must } of steps) {
      rows.push(await statement.build(query).prepare('').execute(values));
      if (must && rows.at(-1)?.length === 0) throw UNDONE;
    }
    await client.query('COMMIT');
    return rows;
  } catch (error) {
    if (error !== UNDONE && sqlStateOf(error) === null) broken = error as Error;
    else await client.query('ROLLBACK');
    throw error;
  } finally {
    if (!broken) client.off('error', onError);
    client.release(broken);
  }
}

/** A transaction that was to be undone, or a value that is taken, is an answer and no failure. */
async function orNull<Result>(run: () => Promise<Result>): Promise<Result | null> {
  try {
    return await run();
  } catch (error) {
    if (error === UNDONE || sqlStateOf(error) === TAKEN) return null;
    throw error;
  }
}

/** Runs it, again if the database asks for that; any failure but one of the statement itself means that it is away. */
async function orAway<Result>(run: () => Promise<Result>, triesLeft = TRIES): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    const state = sqlStateOf(error);
    if (state !== null && TRY_AGAIN.has(state) && triesLeft > 1) return orAway(run, triesLeft - 1);
    if (state === null || /^(08|53|57|58|XX|40)/.test(state)) throw new DatabaseAway(state ?? 'no answer', { cause: error });
    throw error;
  }
}

/** The SQLSTATE with which the server answered; null when it did not answer. */
function sqlStateOf(error: unknown): string | null {
  const cause = error instanceof DrizzleQueryError ? error.cause : error;
  return cause instanceof pg.DatabaseError ? (cause.code ?? null) : null;
}

/** Applies what is missing, in one transaction, one process at a time. */
async function migrate(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: 'keyturn migration' });
  await client.connect();
  try {
    await client.query('BEGIN');
    await client.query('SELECT pg_advisory_xact_lock($1::bigint)', [BigInt(MIGRATION_LOCK).toString()]);
    await client.query('CREATE TABLE IF NOT EXISTS keyturn_migrations (created_at bigint PRIMARY KEY, hash text NOT NULL)');
    const { rows } = await client.query<{ latest: number | null }>('SELECT max(created_at) AS latest FROM keyturn_migrations');
    for (const migration of readMigrationFiles({ migrationsFolder: MIGRATIONS })) {
      if (migration.folderMillis <= (rows[0]?.latest ?? 0)) continue;
      for (const statement of migration.sql) await client.query(statement);
      await client.query('INSERT INTO keyturn_migrations (created_at, hash) VALUES ($1, $2)', [migration.folderMillis, migration.hash]);
    }
    await client.query('COMMIT');
  } finally {
    await client.end();
  }
}
