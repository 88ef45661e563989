/**
 * Drizzle's CommonJS build. Of its ES module build Node.js 24 reads the package's list of 500 exports anew for each of 400
 * files: a start takes half a second longer, and the process 190 MB more.
 */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

export const { and, asc, desc, eq, getTableColumns, getTableName, gt, inArray, is, isNotNull, isNull, lt, lte, ne, or, sql } = require('drizzle-orm') as typeof import('drizzle-orm');
export const { DrizzleQueryError } = require('drizzle-orm/errors') as typeof import('drizzle-orm/errors');
export const { readMigrationFiles } = require('drizzle-orm/migrator') as typeof import('drizzle-orm/migrator');
