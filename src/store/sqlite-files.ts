import { statSync } from 'node:fs';
import Database from 'better-sqlite3';
import { DatabaseAway } from './db.ts';

export function isBusy(error: unknown): boolean {
  return error instanceof Database.SqliteError && /^SQLITE_(BUSY|LOCKED)/.test(error.code);
}

/**
 * Watches whether the files of an open database still have their names. SQLite goes on writing into a file that was deleted
 * or replaced, and all that it answers is lost at the next start. An inode that is open is nobody else's, so that the
 * comparison is exact.
 */
export function watchNames(path: string) {
  const names = [path, `${path}-wal`];
  const inodeOf = (name: string) => statSync(name, { throwIfNoEntry: false })?.ino;
  const opened = names.map(inodeOf);
  let lost = false;

  /** Looks; two system calls. @throws DatabaseAway */
  function check() {
    lost = !names.every((name, at) => inodeOf(name) === opened[at]);
    if (lost) throw new DatabaseAway(`${path} was deleted, moved or replaced; put it back, or restart the server`, { code: 'FILE_GONE' });
  }
  return {
    check,
    /** Looks again only where the last look found it lost. @throws DatabaseAway */
    recheck() {
      if (lost) check();
    },
  };
}
