/** Drizzle for PostgreSQL; see drizzle.ts. */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

// eslint-disable-next-line @typescript-eslint/no-deprecated -- only an overload of primaryKey is
export const { bigint, getTableConfig, index, PgDialect, PgTable, pgTable, primaryKey, text } = require('drizzle-orm/pg-core') as typeof import('drizzle-orm/pg-core');
export const { drizzle } = require('drizzle-orm/node-postgres') as typeof import('drizzle-orm/node-postgres');
export type PgTable = import('drizzle-orm/pg-core').PgTable;
