import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { type Db, DatabaseAway, type DatabaseOptions, type Opening, type QueryBuilder, StatementFailed, type Step, UNDONE } from './db.ts';
import { DrizzleQueryError, getTableName } from './drizzle.ts';
import { drizzle } from './drizzle-pg.ts';
import { migratePostgres } from './migrate-postgres.ts';
import * as schema from './schema/pg.ts';

export { MIGRATIONS } from './migrate-postgres.ts';
/** serialization_failure and deadlock_detected: the database undid the transaction and asks to try again */
const TRY_AGAIN = new Set(['40001', '40P01']);
/** unique_violation */
const TAKEN = '23505';
/**
 * The classes of what is wrong with a statement itself: unsupported feature, cardinality, data, integrity, syntax. All else
 * is absence: read-only, locked role, changed password, missing database, right or table … Those pass without a new Keyturn.
 */
const MISTAKE = /^(0A|21|22|23|42(?!501|P01))/;
/** The classes whose messages never quote a value: connection, transaction state, authorization, database, rights, resources, intervention. */
const QUOTES_NOTHING = /^(08|25|28|3D|42|53|57)/;
const TRIES = 10;
const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 200;

const READINESS = `SELECT current_setting('transaction_read_only') = 'on' OR pg_is_in_recovery() AS "readOnly",
  ${Object.values(schema).map(getTableName).flatMap((name) => ['SELECT', 'INSERT', 'UPDATE', 'DELETE'].map((right) => `has_table_privilege('${name}', '${right}')`)).join(' AND ')} AS allowed`;

const CLOCK = 'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now';

pg.types.setTypeParser(pg.types.builtins.INT8, Number);

/**
 * PostgreSQL, or what speaks its protocol. Any isolation level will do: compare-and-swap decides, and what the database
 * undoes is tried again. Statements have no names and no session state is kept, so a pooler in transaction mode may stand
 * between. A lost connection is not retried, because what was asked may have been done: the caller answers 503, and a
 * repeated request finds out.
 */
export async function openPostgres({ url, migrationUrl = url, poolSize, timeoutMs }: Extract<DatabaseOptions, { dialect: 'postgres' }>, opening: Opening = {}): Promise<Db> {
  await migratePostgres(migrationUrl, opening);
  const pool = new pg.Pool({
    connectionString: url, max: poolSize, connectionTimeoutMillis: timeoutMs, query_timeout: timeoutMs, keepAlive: true, application_name: 'keyturn',
  });
  pool.on('error', (error) => opening.onConnectionLost?.(error)); // an error event without a listener would end the process
  const query = drizzle(pool) as unknown as QueryBuilder;
  return {
    schema,
    prepare(name, build) {
      const prepared = build(query).prepare('');
      return { name, run: (values) => prepared.execute(values), build };
    },
    read: (statement, values) => insist(statement.name, async () => statement.run(values)),
    write: (statement, values) => insist(statement.name, async () => statement.run(values)),
    transact: (steps) => orNull(steps.length === 1 ? runAlone(steps[0] as Step) : insist('BEGIN', () => runTogether(pool, steps))),
    check: () => insist('readiness', () => checkReadiness(pool)),
    readClock: () => insist('clock', async () => (await pool.query<{ now: number }>(CLOCK)).rows[0]?.now ?? Number.NaN),
    close: () => pool.end(),
  };
}

/** One statement is a transaction of its own, in one round trip. */
async function runAlone({ statement, values, must }: Step): Promise<number[]> {
  return [countOf(await insist(statement.name, async () => statement.run(values)), must)];
}

/** How many rows a step changed. @throws UNDONE if it was to change one */
function countOf(outcome: unknown[] | pg.QueryResult, must = false): number {
  const count = Array.isArray(outcome) ? outcome.length : (outcome.rowCount ?? 0);
  if (must && count === 0) throw UNDONE;
  return count;
}

async function runTogether(pool: pg.Pool, steps: Step[]): Promise<number[]> {
  const client = await pool.connect();
  let broken: Error | undefined;
  const onError = (error: Error) => { broken = error; }; // without a listener it would end the process
  client.on('error', onError);
  try {
    await client.query('BEGIN');
    const query = drizzle(client) as unknown as QueryBuilder;
    const counts: number[] = [];
    for (const { statement, values, must } of steps) {
      const outcome = statement.build(query).prepare('').execute(values);
      counts.push(countOf(await outcome.catch((error: unknown) => { throw describeFailure(error, statement.name); }), must));
    }
    await client.query('COMMIT');
    return counts;
  } catch (error) {
    const failure = describeFailure(error, 'COMMIT');
    if (failure instanceof DatabaseAway && !TRY_AGAIN.has(failure.code ?? '')) broken = failure;
    else await client.query('ROLLBACK');
    throw failure;
  } finally {
    if (!broken) client.off('error', onError);
    client.release(broken);
  }
}

/** A standby answers reads, and a role without a right connects: both are looked for. */
async function checkReadiness(pool: pg.Pool) {
  const { rows: [found] } = await pool.query<{ readOnly: boolean; allowed: boolean }>(READINESS);
  if (found?.readOnly !== false) throw new DatabaseAway('the database is read-only', { code: '25006', statement: 'readiness' });
  if (!found.allowed) throw new DatabaseAway('the role lacks rights on the tables', { code: '42501', statement: 'readiness' });
}

/** A transaction that was to be undone, or a value that is taken, is an answer and no failure. */
async function orNull<Result>(result: Promise<Result>): Promise<Result | null> {
  try {
    return await result;
  } catch (error) {
    if (error === UNDONE || (error instanceof StatementFailed && error.code === TAKEN)) return null;
    throw error;
  }
}

/** Runs it, again after a random pause if the database asks for that. @throws DatabaseAway, StatementFailed, UNDONE; nothing else */
async function insist<Result>(statement: string, run: () => Promise<Result>): Promise<Result> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await run();
    } catch (error) {
      const failure = describeFailure(error, statement);
      if (tries === TRIES || !(failure instanceof DatabaseAway) || !TRY_AGAIN.has(failure.code ?? '')) throw failure;
      await pause(Math.random() * Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** tries));
    }
  }
}

/**
 * The failure as it leaves the store. Drizzle's error holds every parameter, and PostgreSQL's may quote one (message, detail,
 * context): neither is kept, not even as a cause.
 */
function describeFailure(error: unknown, statement: string): Error {
  if (error instanceof DatabaseAway || error instanceof StatementFailed) return error;
  if (error === UNDONE) return UNDONE;
  const thrown: unknown = error instanceof DrizzleQueryError ? error.cause : error;
  const { message, code } = (thrown instanceof AggregateError ? thrown.errors[0] : thrown) as { message?: string; code?: string };
  const about = { code, statement };
  if (!(thrown instanceof pg.DatabaseError)) return new DatabaseAway(message ?? 'no answer', about);
  if (MISTAKE.test(code ?? '')) return new StatementFailed(`PostgreSQL refused ${statement}`, about);
  return new DatabaseAway(QUOTES_NOTHING.test(code ?? '') ? thrown.message : 'PostgreSQL could not do it', about);
}
