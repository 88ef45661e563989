import { closeSync, constants, existsSync, fchmodSync, linkSync, mkdirSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { draftBeside, flush, followLinks, SQLITE_SUFFIXES } from './drafts.ts';
import { holdAlone, isSameFile, migrationOf, type OnProgress, Refusal, verifyDatabase } from './files.ts';
import { openSqlite } from './sqlite.ts';

const PAGES_A_STEP = 1000;

export type Backup = { bytes: number; rows: Record<string, number>; liveSessions: number };

/**
 * A consistent copy of a SQLite database that a server may be writing: every write that was answered before the call is
 * in it. Verified and on disk, mode 0600, under its name only when whole; a plain file without WAL.
 * @throws Refusal when the file exists and must not be replaced
 */
export async function backupDatabase(path: string, file: string, { force, now, onProgress }: { force: boolean; now: number; onProgress: OnProgress }): Promise<Backup> {
  if (['', ...SQLITE_SUFFIXES].some((suffix) => isSameFile(path + suffix, file))) throw new Refusal(`${file} is the database itself`);
  const refuseToReplace = () => {
    if (!force && existsSync(file)) throw new Refusal(`${file} exists; --force replaces it`);
  };
  refuseToReplace();
  const draft = draftBeside(file);
  try {
    await copyPages(path, draft.path, onProgress);
    const backup = readCopy(draft.path, now);
    draft.settle();
    refuseToReplace();
    renameSync(draft.path, file);
    flush(dirname(file));
    return { ...backup, bytes: statSync(file).size };
  } finally {
    draft.discard();
  }
}

/** The read transaction holds one state of the database while others write; without it, each write would begin the copy anew. */
async function copyPages(path: string, copy: string, onProgress: OnProgress) {
  const connection = new Database(path, { readonly: true, fileMustExist: true });
  try {
    connection.exec('BEGIN');
    migrationOf(connection);
    const { totalPages: pages } = await connection.backup(copy, {
      progress: ({ totalPages, remainingPages }) => {
        onProgress(totalPages - remainingPages, totalPages);
        return PAGES_A_STEP;
      },
    });
    onProgress(pages, pages);
  } finally {
    connection.close();
  }
}

function readCopy(copy: string, now: number) {
  const connection = new Database(copy);
  try {
    connection.pragma('journal_mode = DELETE');
    return { rows: verifyDatabase(connection), liveSessions: countLive(connection, now) };
  } finally {
    connection.close();
  }
}

const LIVE = 'revoked_at IS NULL AND idle_expires_at > @now AND expires_at > @now';

function countLive(connection: Database.Database, now: number): number {
  return connection.prepare<{ now: number }, number>(`SELECT count(*) FROM sessions WHERE ${LIVE}`).pluck().get({ now }) ?? 0;
}

export type Restoration = {
  rows: Record<string, number>;
  sessionsEnded: number;
  liveSessions: number;
  /** live sessions by the name of their key */
  keys: Record<string, number>;
  /** where the database that was replaced is now */
  kept: string | null;
};
type RestoreOptions = { force: boolean; keepSessions: boolean; now: number; onProgress: OnProgress };

/**
 * Puts a verified backup in the place of the database, at once and on disk, migrated; with all sessions and mailed links
 * ended, because a backup does not know what was revoked or used after it. No server can start on the database meanwhile.
 * A replaced database that held users is kept beside it. Where the database is a symbolic link, the file that it names
 * is replaced, and the link stays.
 * @throws Refusal when the database is in use, or holds users and must not be replaced
 */
export async function restoreDatabase(file: string, database: string, options: RestoreOptions): Promise<Restoration> {
  const path = followLinks(database);
  if (isSameFile(file, path)) throw new Refusal(`${file} is the database itself`);
  verifyFile(file);
  const target = existsSync(path) ? holdTarget(path) : null;
  let replaced = false;
  try {
    const users = target ? countUsers(target.connection) : 0;
    if (users > 0 && !options.force) throw new Refusal(`${path} holds ${users} users; --force replaces it, and keeps it beside the new one`);
    const kept = users > 0 ? `${path}.before-restore-${new Date(options.now).toISOString().replace(/[-:.]/g, '')}` : null;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const draft = draftBeside(path);
    try {
      await copyPages(file, draft.path, options.onProgress);
      await (await openSqlite(draft.path, { role: 'restore' })).close();
      const restoration = finishCopy(draft.path, options);
      draft.settle();
      SQLITE_SUFFIXES.forEach((suffix) => rmSync(path + suffix, { force: true }));
      if (kept) target?.keepAs(kept);
      renameSync(draft.path, path);
      replaced = true;
      flush(dirname(path));
      return { ...restoration, kept };
    } finally {
      draft.discard();
    }
  } finally {
    target?.release(replaced);
  }
}

/** Holds the database alone. Its descriptor is closed last, because closing one drops every lock of the process on the file. */
function holdTarget(path: string) {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  const held = holdOrClose(path, descriptor);
  return {
    connection: held.connection,
    /** A second name for the file, so that the first is never free: a server that starts would make a new database there. */
    keepAs(kept: string) {
      fchmodSync(descriptor, 0o600);
      linkSync(path, kept);
    },
    /**
     * A file that was replaced stays out of WAL mode: a server that opened it just before, and waits, is then told by
     * SQLite that it has moved (SQLITE_READONLY_DBMOVED), instead of writing where nobody reads.
     */
    release(replaced: boolean) {
      if (replaced) held.connection.close();
      else held.release();
      closeSync(descriptor);
    },
  };
}

function holdOrClose(path: string, descriptor: number) {
  try {
    return holdAlone(path);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function verifyFile(file: string) {
  try {
    const connection = new Database(file, { readonly: true, fileMustExist: true });
    try {
      verifyDatabase(connection);
    } finally {
      connection.close();
    }
  } catch (error) {
    throw new Error(`${file} cannot be restored: ${(error as Error).message}`, { cause: error });
  }
}

/** A database that was opened once and never used has no tables yet. */
function countUsers(connection: Database.Database): number {
  const exists = connection.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'users'").get();
  return exists ? (connection.prepare<[], number>('SELECT count(*) FROM users').pluck().get() ?? 0) : 0;
}

function finishCopy(copy: string, { keepSessions, now }: RestoreOptions) {
  const connection = new Database(copy);
  try {
    const end = connection.prepare<{ now: number }>(`UPDATE sessions SET revoked_at = @now, revoked_reason = 'restored' WHERE ${LIVE}`);
    const sessionsEnded = keepSessions ? 0 : end.run({ now }).changes;
    if (!keepSessions) connection.exec('DELETE FROM one_time_tokens; DELETE FROM mails');
    const keys = connection.prepare<{ now: number }, [string, number]>(`SELECT key_id, count(*) FROM sessions WHERE ${LIVE} GROUP BY key_id`).raw().all({ now });
    connection.pragma('journal_mode = DELETE');
    return { rows: verifyDatabase(connection), sessionsEnded, liveSessions: countLive(connection, now), keys: Object.fromEntries(keys) };
  } finally {
    connection.close();
  }
}
