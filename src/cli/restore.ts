import { restoreDatabase } from '../store/backup.ts';
import { sqlitePath } from './backup.ts';
import type { Command, Context } from './command.ts';
import { count } from './progress.ts';

export const restore: Command = {
  synopsis: 'restore FILE [--force] [--keep-sessions] [--json]',
  summary: 'put a backup in the place of the SQLite database',
  description: `Verifies FILE, then puts a copy of it in the place of the configured database, at once, and applies migrations.
The server must be stopped. All sessions and mailed links are ended, because a backup does not know which were signed out, ended
after a theft, or used since it was made: with --keep-sessions these would be alive again.`,
  options: [
    { name: 'force', description: 'replace a database that holds users; it is kept as NAME.before-restore-TIME' },
    { name: 'keep-sessions', description: 'leave sessions and links alive; they need the SECRET_KEY that they were begun with' },
  ],
  takesFile: true,
  exits: { failed: 'FILE is damaged, is no database of Keyturn, or is of a newer one', refused: 'a server has the database open, or it holds users' },
  example: `  docker compose stop api
  docker compose run --rm api keyturn restore /backups/keyturn-2026-01-31.db --force
  docker compose start api`,
  run: runRestore,
};

async function runRestore({ file, options, config, progress, now }: Context) {
  const path = sqlitePath(config, 'restore it with pg_restore, and then end all sessions, for a backup does not know what was revoked since');
  const result = await restoreDatabase(file, path, {
    force: options.force === true, keepSessions: options['keep-sessions'] === true, now: now(), onProgress: progress('copying pages'),
  });
  const known = new Set(config.secrets.derivedKeys.map(({ id }) => id));
  const withoutKey = Object.entries(result.keys).reduce((sum, [id, sessions]) => (known.has(id) ? sum : sum + sessions), 0);
  const { rows, sessionsEnded, liveSessions, kept } = result;
  return {
    json: { file, database: path, rows, sessionsEnded, liveSessions, kept, sessionsWithoutKey: withoutKey },
    text: `${path} now holds ${count(rows.users ?? 0)} users and ${count(rows.sessions ?? 0)} sessions; ${
      options['keep-sessions'] === true ? `${count(liveSessions)} are alive` : `${count(sessionsEnded)} live ones were ended`}.${
      withoutKey > 0 ? `\n${count(withoutKey)} of the live sessions were begun under another SECRET_KEY, and are over unless it is put back.` : ''}${
      kept ? `\nThe database that was there is kept as ${kept}.` : ''}`,
  };
}
