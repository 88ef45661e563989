import type { SQL } from 'drizzle-orm';
import pg from 'pg';
import { sql } from './drizzle.ts';
import { PgDialect } from './drizzle-pg.ts';
import { latestMigration, Refusal } from './files.ts';
import { CLEAR_MARK, MOVE_MARK, SET_MARK } from './migrations.ts';
import type { End, Role } from './move.ts';
import { MIGRATIONS } from './postgres.ts';
import { columnsOf, type Row, type Table, type Value } from './tables.ts';

const CONNECT_TIMEOUT_MS = 10_000;

/**
 * PostgreSQL as an end of a move. As a source it is read in one snapshot; it cannot be kept from being written meanwhile,
 * so a `source` on which a Keyturn is seen is refused.
 * @throws Refusal when it is seen to be in use
 */
export async function openPostgresEnd(url: string, role: Role): Promise<End> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS, keepAlive: true, application_name: 'keyturn move' });
  client.on('error', () => undefined); // the statement that follows fails, and says so
  await client.connect();
  try {
    if (role === 'source') await refuseServed(client);
    if (role !== 'target') await client.query('BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY');
  } catch (error) {
    await client.end();
    throw error;
  }
  const prepared = new Map<Table, ReturnType<typeof prepare>>();
  const of = (table: Table) => {
    const statements = prepared.get(table) ?? prepare(table);
    prepared.set(table, statements);
    return statements;
  };
  const rowsOf = async (text: string, values: unknown[]) => (await client.query<Row>({ text, values, rowMode: 'array' })).rows;
  return {
    async isCurrent() {
      const [[name] = []] = await rowsOf("SELECT to_regclass('keyturn_migrations')::text", []);
      if (name == null) throw new Error('the PostgreSQL database is not one of Keyturn');
      return (await rowsOf('SELECT max(created_at) FROM keyturn_migrations', []))[0]?.[0] === latestMigration(MIGRATIONS);
    },
    isMarked: async () => (await rowsOf(`SELECT to_regclass('${MOVE_MARK}') IS NOT NULL`, []))[0]?.[0] as unknown === true,
    setMark: async (marked) => { await client.query(marked ? SET_MARK : CLEAR_MARK); },
    count: async (table) => (await rowsOf(of(table).count, []))[0]?.[0] as number,
    readAfter: (table, key, limit) => (key ? rowsOf(of(table).next, [...key, limit]) : rowsOf(of(table).first, [limit])),
    find: (table, keys) => rowsOf(of(table).find, [asJson(table.keyAt.map((at) => table.columns[at] as string), keys)]),
    insert: async (table, rows) => (await client.query(of(table).insert, [asJson(table.columns, rows)])).rowCount ?? 0,
    close: () => client.end(),
  };
}

/** A batch travels as one parameter, which the database takes apart by its own columns, names, types and order. */
function prepare(table: Table) {
  const { all, key, keyValues } = columnsOf(table, 'pg');
  const from = table.pg;
  const given = sql`json_populate_recordset(NULL::${from}, ${sql.placeholder('rows')}::json) AS ${from}`;
  const text = (statement: SQL) => new PgDialect().sqlToQuery(statement).sql;
  return {
    count: text(sql`SELECT count(*) FROM ${from}`),
    first: text(sql`SELECT ${all} FROM ${from} ORDER BY ${key} LIMIT ${sql.placeholder('limit')}`),
    next: text(sql`SELECT ${all} FROM ${from} WHERE (${key}) > (${keyValues}) ORDER BY ${key} LIMIT ${sql.placeholder('limit')}`),
    find: text(sql`SELECT ${all} FROM ${from} WHERE (${key}) IN (SELECT ${key} FROM ${given})`),
    insert: text(sql`INSERT INTO ${from} SELECT * FROM ${given} ON CONFLICT DO NOTHING`),
  };
}

function asJson(names: string[], rows: Value[][]): string {
  return JSON.stringify(rows.map((row) => Object.fromEntries(names.map((name, at) => [name, row[at]]))));
}

/** An idle server holds no connection, so this sees only one that was at work in the last seconds. */
async function refuseServed(client: pg.Client) {
  const { rows } = await client.query("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'keyturn'");
  if (rows.length > 0) throw new Refusal('the source is in use: stop the servers first, so that no session changes behind the copy');
}
