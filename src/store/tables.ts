import type { Column, SQL } from 'drizzle-orm';
import { getTableColumns, getTableName, is, sql } from './drizzle.ts';
import { getTableConfig, PgTable } from './drizzle-pg.ts';
import type { SQLiteTable } from 'drizzle-orm/sqlite-core';
import * as pgSchema from './schema/pg.ts';
import * as sqliteSchema from './schema/sqlite.ts';

export type Value = string | number | null;
/** A row as its values, in the order of the table's `columns`. */
export type Row = Value[];

/** A table of the product, in both dialects. */
export type Table = {
  name: string;
  /** names in the database, in the order in which a Row has them */
  columns: string[];
  /** where the primary key is in a Row */
  keyAt: number[];
  pg: PgTable;
  sqlite: SQLiteTable;
};

/** All tables, each after those that it refers to. They come from the schema alone: what is added there is copied. */
export const TABLES: readonly Table[] = parentsFirst(Object.values(pgSchema).filter((each) => is(each, PgTable))).map(describe);

function parentsFirst(tables: PgTable[]): PgTable[] {
  const ordered = new Set<PgTable>();
  const visit = (table: PgTable) => {
    const parents = getTableConfig(table).foreignKeys.map((each) => each.reference().foreignTable);
    for (const parent of parents) if (parent !== table && !ordered.has(parent)) visit(parent);
    ordered.add(table);
  };
  tables.forEach(visit);
  return [...ordered];
}

function describe(pg: PgTable): Table {
  const { name, columns, primaryKeys } = getTableConfig(pg);
  const keys = primaryKeys[0]?.columns ?? columns.filter(({ primary }) => primary);
  const keyAt = keys.map((key) => columns.findIndex((column) => column.name === key.name));
  const sqlite = Object.values(sqliteSchema).find((each) => getTableName(each) === name);
  if (!sqlite || keyAt.length === 0) throw new Error(`${name} is not in both schemas, or has no primary key`);
  return { name, columns: columns.map((column) => column.name), keyAt, pg, sqlite };
}

/** The columns of one dialect, in the order of a Row, and those of the primary key. */
export function columnsOf(table: Table, dialect: 'pg' | 'sqlite') {
  const own: Column[] = dialect === 'pg' ? Object.values(getTableColumns(table.pg)) : Object.values(getTableColumns(table.sqlite));
  const columns = table.columns.map((name) => own.find((column) => column.name === name) as Column);
  const keys = table.keyAt.map((at) => columns[at] as Column);
  return { all: list(columns), key: list(keys), keyValues: list(keys.map((_key, at) => sql.placeholder(`key${at}`))) };
}

function list(parts: unknown[]): SQL {
  return sql.join(parts.map((part) => sql`${part}`), sql`, `);
}
