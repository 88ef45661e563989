import { describeDatabase } from '../config.ts';
import type { DatabaseOptions } from '../store/db.ts';
import { moveDatabase } from '../store/move.ts';
import { type Command, type Context, UsageError } from './command.ts';
import { count } from './progress.ts';

export const move: Command = {
  synopsis: 'move --to URL [--from URL] [--live] [--json]',
  summary: 'copy everything to another database, SQLite or PostgreSQL',
  description: `Copies every table from the configured database to another, in batches, and proves by counts and checksums that both
hold the same. Everyone stays signed in. The source is only read. Stop the servers first: what they write meanwhile would
be missing. If it is interrupted, run it again: it continues. URL is written as DATABASE_URL is: postgres://USER@HOST/NAME
or sqlite:PATH. A password on a command line can be seen by others on the machine: leave it out, and set PGPASSWORD.`,
  options: [
    { name: 'to', value: 'URL', description: 'where to; a PostgreSQL database must exist, a SQLite file need not' },
    { name: 'from', value: 'URL', description: 'where from, instead of the configured database' },
    { name: 'live', description: 'a rehearsal: copy the source as it is now, while servers write it' },
  ],
  takesFile: false,
  exits: { failed: 'a database does not answer, or the two differ at the end', refused: 'the source is in use, or the target holds other rows' },
  example: `  PGPASSWORD=… keyturn move --to postgres://keyturn@db.example.com/keyturn`,
  run: runMove,
};

async function runMove({ options, config, parseDatabase, progress }: Context) {
  if (typeof options.to !== 'string') throw new UsageError('--to URL is missing');
  const to = parseDatabase('--to', options.to);
  const from = typeof options.from === 'string' ? parseDatabase('--from', options.from) : config.database;
  if (isSame(from, to)) throw new UsageError('source and target are the same database');
  const tables = await moveDatabase(from, to, options.live === true, progress);
  return {
    json: { from: describeDatabase(from), to: describeDatabase(to), live: options.live === true, tables, keyFiles: config.secrets.files },
    text: `${describeDatabase(to)} now holds the same as ${describeDatabase(from)}:
${tables.map(({ table, rows, copied, checksum }) => `  ${table.padEnd(10)} ${count(rows).padStart(12)} rows, ${count(copied)} copied now, checksum ${checksum.slice(0, 16)}`).join('\n')}

${options.live === true ? 'This was a rehearsal: empty the target before the move itself.' : advice(to, config.secrets.files)}`,
  };
}

function isSame(a: DatabaseOptions, b: DatabaseOptions): boolean {
  return describeDatabase(a) === describeDatabase(b);
}

/** What the servers on the new database need; a key is named by its file, never printed. */
function advice(to: DatabaseOptions, keyFiles: string[]): string {
  const keys = keyFiles.map((path) => `  ${path.endsWith('secret.key') ? 'SECRET_KEY' : 'JWT_PRIVATE_KEY'} to the content of ${path}`);
  return `Set for the servers, and start them:
  DATABASE_URL to ${to.dialect === 'sqlite' ? `sqlite:${to.path}` : `${describeDatabase(to)} (with the user and password that you gave)`}
${keys.length > 0 ? keys.join('\n') : '  SECRET_KEY to what it is now'}
so that everyone stays signed in. Keep the old database until you have seen that they are.`;
}
