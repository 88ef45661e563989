import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { readMigrationFiles } from 'drizzle-orm/migrator';
import { expect, onTestFinished, test } from 'vitest';
import { type MigrationProgress, openDb } from '../../src/store/db.ts';
import { MIGRATIONS } from '../../src/store/sqlite.ts';
import { temporaryFolder } from '../support/app.ts';
import { holdLock } from '../support/lock-holder.ts';

/** A database that lacks the newest migration. */
function makeOlderDatabase(): string {
  const path = join(temporaryFolder(), 'keyturn.db');
  const connection = new Database(path);
  connection.exec('CREATE TABLE __drizzle_migrations (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at numeric)');
  for (const { sql, hash, folderMillis } of readMigrationFiles({ migrationsFolder: MIGRATIONS }).slice(0, -1)) {
    for (const statement of sql) connection.exec(statement);
    connection.prepare('INSERT INTO __drizzle_migrations (hash, created_at) VALUES (?, ?)').run(hash, folderMillis);
  }
  connection.close();
  return path;
}

async function open(path: string) {
  const told: MigrationProgress[] = [];
  const db = await openDb({ dialect: 'sqlite', path }, { onMigration: (progress) => told.push(progress) });
  onTestFinished(() => db.close());
  return told;
}

const copiesIn = (path: string) => readdirSync(join(path, '..')).filter((name) => name.includes('.before-migration-') || name.includes('.part'));

test('a migration waits while another process writes, says so once, and is then done', async () => {
  const path = makeOlderDatabase();
  const writer = new Database(path);
  writer.pragma('journal_mode = WAL');
  writer.close();
  const letGo = await holdLock(path, 'BEGIN IMMEDIATE');
  const told: MigrationProgress[] = [];
  const opened = openDb({ dialect: 'sqlite', path }, { onMigration: (progress) => told.push(progress) });
  await expect.poll(() => told.map(({ phase }) => phase)).toEqual(['waiting']);
  await letGo();
  await (await opened).close();
  expect(told.map(({ phase }) => phase)).toEqual(['waiting', 'copied', 'running', 'done']);
});

test('a disk without room for the copy is told in one sentence, before anything is changed', async () => {
  const path = makeOlderDatabase();
  const before = readFileSync(path);
  // A file of eight terabytes, most of it a hole: its header says how many pages it has (SQLite file format, 1.3.8)
  const pages = Buffer.alloc(4);
  pages.writeUInt32BE(0x7fff_ff00);
  truncateSync(path, 0x7fff_ff00 * 4096);
  const file = openSync(path, 'r+');
  writeSync(file, pages, 0, 4, 28);
  closeSync(file);
  await expect(open(path)).rejects.toThrow(/^there is no room for the copy of the database that is kept before a migration: \d+ MB are needed in \/\S+$/);
  expect(copiesIn(path)).toEqual([]);
  truncateSync(path, before.length);
  const connection = new Database(path);
  connection.exec('VACUUM');
  expect(connection.prepare('SELECT count(*) FROM __drizzle_migrations').pluck().get()).toBe(readMigrationFiles({ migrationsFolder: MIGRATIONS }).length - 1);
  connection.close();
});

test('a migration that would leave rows without what they refer to is undone', async () => {
  const path = makeOlderDatabase();
  const connection = new Database(path);
  connection.pragma('foreign_keys = OFF');
  connection.exec("INSERT INTO sessions (id, user_id, token_hash, generation, window_started_at, window_generation, previous_generation, rotated_at, idle_expires_at, expires_at, key_id, ip, created_at, last_used_at) VALUES ('a', 'nobody', '', 0, 0, 0, 0, 0, 0, 0, '', '', 0, 0)");
  const migrations = connection.prepare('SELECT count(*) FROM __drizzle_migrations').pluck();
  const before = migrations.get();
  await expect(open(path)).rejects.toThrow('the migration would leave 1 rows that refer to rows that are missing');
  expect(migrations.get()).toBe(before);
  connection.close();
});

test('a copy that cannot get its name ends the start, and leaves neither a draft nor a changed database', async () => {
  const path = makeOlderDatabase();
  const nameAt = (time: number) => `${path}.before-migration-${new Date(time).toISOString().replace(/[-:]|\.\d+/g, '')}`;
  for (let second = 0; second < 60; second += 1) mkdirSync(nameAt(Date.now() + second * 1000));
  await expect(open(path)).rejects.toThrow(/EISDIR/);
  expect(copiesIn(path).filter((name) => name.includes('.part'))).toEqual([]);
  const connection = new Database(path, { readonly: true });
  expect(connection.prepare('SELECT count(*) FROM __drizzle_migrations').pluck().get()).toBe(readMigrationFiles({ migrationsFolder: MIGRATIONS }).length - 1);
  connection.close();
});
