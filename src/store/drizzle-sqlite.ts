/** Drizzle for SQLite; see drizzle.ts. */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

// eslint-disable-next-line @typescript-eslint/no-deprecated -- only an overload of primaryKey is
export const { index, integer, primaryKey, SQLiteSyncDialect, sqliteTable, text } = require('drizzle-orm/sqlite-core') as typeof import('drizzle-orm/sqlite-core');
export const { drizzle } = require('drizzle-orm/better-sqlite3') as typeof import('drizzle-orm/better-sqlite3');
