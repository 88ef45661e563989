import { backupDatabase } from '../store/backup.ts';
import { type Command, type Context, UsageError } from './command.ts';
import { count } from './progress.ts';

export const backup: Command = {
  synopsis: 'backup FILE [--force] [--json]',
  summary: 'copy the live SQLite database to FILE',
  description: `Copies the database while the server runs. Every write that was answered before the backup began is in it.
The copy is checked (pages, indexes, references), is on disk, mode 0600, and has its name only when it is whole.
FILE is a SQLite database; put it back with: keyturn restore FILE
While the copy is made, SQLite cannot shorten its write-ahead log; it does so afterwards.`,
  options: [{ name: 'force', description: 'replace FILE if it exists' }],
  takesFile: true,
  exits: { failed: 'the database cannot be read or the copy cannot be written', refused: 'FILE exists, or is the database itself' },
  example: `  keyturn backup /backups/keyturn-$(date +%F).db && echo kept`,
  run: runBackup,
};

async function runBackup({ file, options, config, progress, now }: Context) {
  const path = sqlitePath(config, 'back it up with pg_dump, which makes a consistent copy of a live database: pg_dump --format=custom --file=FILE "$DATABASE_URL"');
  const result = await backupDatabase(path, file, { force: options.force === true, now: now(), onProgress: progress('copying pages') });
  return {
    json: { file, database: path, ...result, keyFiles: config.secrets.files },
    text: `${file} holds ${count(result.rows.users ?? 0)} users and ${count(result.rows.sessions ?? 0)} sessions (${count(result.liveSessions)} live), ${count(result.bytes)} bytes, verified.

In it are e-mail addresses, user names, password hashes, hashes of refresh tokens, and the network address and browser of
every session. No key and no token is in it: it opens no session by itself. Keep it encrypted, where few can read it.
${keyAdvice(config.secrets.files)}`,
  };
}

function keyAdvice(files: string[]): string {
  if (files.length === 0) return 'Keep SECRET_KEY elsewhere, too: without it nobody stays signed in after a restore.';
  return `Keep a copy of ${files.join(' and ')} as well, in another place than the backup: without it nobody stays signed in
after a restore, and who has both can make tokens.`;
}

/** @throws UsageError when the configured database is PostgreSQL, with what to do instead */
export function sqlitePath(config: Context['config'], instead: string): string {
  if (config.database.dialect !== 'sqlite') throw new UsageError(`the configured database is PostgreSQL; ${instead}`);
  return config.database.path;
}
