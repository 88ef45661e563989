import { type OpeningRole, Refusal } from './db.ts';
import { readMigrationFiles } from './drizzle.ts';

export type Migration = { sql: string[]; folderMillis: number; hash: string };
/** What a database says of itself before it is used. */
export type Found = {
  /** when the last migration that it has was made; 0 where it has none */
  latest: number;
  /** whether it has tables of Keyturn's names that no migration of Keyturn's made */
  foreign: boolean;
  /** whether a move into it has not come to its end */
  halfMoved: boolean;
};

/** The table that marks a database into which a move goes on; it has no rows. */
export const MOVE_MARK = 'keyturn_unfinished_move';
export const SET_MARK = `CREATE TABLE IF NOT EXISTS ${MOVE_MARK} (note text)`;
export const CLEAR_MARK = `DROP TABLE IF EXISTS ${MOVE_MARK}`;
export const HALF_MOVED = 'the database is half-moved: run keyturn move again, until it has finished';

/**
 * The migrations that the database still needs.
 * @throws Refusal when it must not be used, or needs some and may not be migrated
 */
export function findPending(migrationsFolder: string, found: Found, role: OpeningRole): Migration[] {
  const all = readMigrationFiles({ migrationsFolder });
  if (found.foreign) throw new Refusal('the database holds tables of another program: name another database');
  if (found.latest > (all.at(-1)?.folderMillis ?? 0)) throw new Refusal('the database was written by a newer Keyturn: run that version, or a newer one');
  if (found.halfMoved && role !== 'move') throw new Refusal(HALF_MOVED);
  const pending = all.filter(({ folderMillis }) => folderMillis > found.latest);
  if (pending.length > 0 && role === 'command') {
    throw new Refusal(found.latest === 0 ? 'there is no database of Keyturn yet: start the server once, which makes it'
      : 'the database is of an older Keyturn: start the server of this version, which migrates it');
  }
  return pending;
}
