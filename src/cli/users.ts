import { createReadStream, statSync } from 'node:fs';
import { extname } from 'node:path';
import { createHashQueue } from '../core/hash-queue.ts';
import { wrapHash } from '../core/stored-hashes.ts';
import { importUsers, type UserLine } from '../core/user-imports.ts';
import { rememberTexts, type SeenTexts } from '../store/seen.ts';
import { openStore } from '../store/store.ts';
import { type Command, CONNECTION, type Context, type Options, UsageError } from './command.ts';
import { count } from './progress.ts';
import { toNewUser } from './user-fields.ts';
import { readUserLines, type UserFormat } from './user-lines.ts';

/** Small, so that an import that is interrupted loses little: a batch may take seconds. */
const BATCH = 200;
const MAX_LISTED = 1000;
const FORMATS: Record<string, UserFormat> = { '.csv': 'csv', '.jsonl': 'jsonl', '.ndjson': 'jsonl', csv: 'csv', jsonl: 'jsonl' };

export const usersImport: Command = {
  synopsis: 'users import FILE [--format csv|jsonl] [--dry-run] [--json]',
  summary: 'add users from another system, with the password hashes that they have',
  description: `Adds one user for each line of FILE, which is CSV with a header, or JSON Lines; - is standard input. It may run beside the server,
and twice: an account that is there already with the same email and username is left as it is. If it is interrupted, run it
again. A line that will not do is told on standard error, with its number and the reason, and the others go on.

fields (each user needs password_hash, and email or username; ids are given by Keyturn)
  email, username    compared without case; a username has letters, digits and _
  password_hash      as it was stored: bcrypt, also as Django and passlib write it; PBKDF2 and scrypt of Django, Werkzeug and passlib;
                     argon2; Firebase's scrypt
  email_verified     true, false, or the time at which it was
  roles              a list; in CSV separated by spaces or commas
  created_at         ISO 8601, or seconds or milliseconds since 1970; now, if it is missing

No old hash but argon2 is stored as it is: it is put inside argon2id at once, at the cost of ARGON2_*, so that a stolen database
gives none away. That takes 10 to 20 ms of one core for each user, on all cores: a million users take two or three hours on two
cores. A user who is there already takes no time. At the first sign-in the password gets a plain argon2id hash.

Firebase keeps four parameters of the project apart from the hashes (console: Authentication, Password hash parameters):
  firebase auth:export users.json --format=json
  jq -c --arg key SIGNER_KEY --arg sep SALT_SEPARATOR --arg n MEM_COST --arg r ROUNDS '.users[] | select(.email and .passwordHash)
    | {email, email_verified: .emailVerified, created_at: (.createdAt | tonumber),
       password_hash: "$fbscrypt$v=1,n=\\($n),r=\\($r),p=1,ss=\\($sep),sk=\\($key)$\\(.salt)$\\(.passwordHash)"}' users.json > users.jsonl
`,
  options: [
    { name: 'format', value: 'FORMAT', description: 'csv or jsonl, where the name of FILE does not end so' },
    { name: 'dry-run', description: 'read and check everything, and add nobody' },
  ],
  takesFile: true,
  exits: {
    failed: 'lines were refused (the others are imported), or FILE or the database cannot be read',
    refused: 'the database is not there, or is not of this version: the server makes and migrates it',
  },
  example: `  keyturn users import users.csv --dry-run && keyturn users import users.csv`,
  run: runImport,
};

type Total = { imported: number; present: number; refused: number; listed: { line: number; reason: string }[] };

async function runImport({ file, options, config, progress, report, now }: Context) {
  const format = formatOf(file, options);
  const dryRun = options['dry-run'] === true;
  const database = config.database.dialect === 'postgres' ? { ...config.database, ...CONNECTION } : config.database;
  const store = await openStore(database, { role: 'command' });
  const seen = rememberTexts();
  const queue = createHashQueue(BATCH);
  const importer = { store, wrap: (oldHash: string) => queue.run(() => wrapHash(oldHash, config.argon2)) };
  const total: Total = { imported: 0, present: 0, refused: 0, listed: [] };
  try {
    const lines = readUserLines(...openFile(file, format, progress('importing users')));
    for await (const batch of inBatches(lines, seen, now, (line, reason) => refuse(total, report, line, reason))) {
      await importBatch(importer, batch, dryRun, total, report);
    }
  } finally {
    seen.close();
    await store.close();
  }
  return summarize(file, total, dryRun);
}

function formatOf(file: string, { format }: Options): UserFormat {
  const name = typeof format === 'string' ? format : extname(file).toLowerCase();
  const known = Object.hasOwn(FORMATS, name) ? FORMATS[name] : undefined;
  if (!known) throw new UsageError('say --format csv or --format jsonl, or name FILE so that it ends in .csv or .jsonl');
  return known;
}

function openFile(file: string, format: UserFormat, onProgress: (done: number, total: number) => void): Parameters<typeof readUserLines> {
  if (file === '-') return [process.stdin, format, () => undefined];
  const size = statSync(file).size;
  let done = 0;
  return [createReadStream(file), format, (bytes) => {
    done = Math.min(size, done + bytes);
    onProgress(done, size);
  }];
}

async function* inBatches(lines: ReturnType<typeof readUserLines>, seen: SeenTexts, now: () => number, refuseLine: (line: number, reason: string) => void): AsyncGenerator<UserLine[]> {
  let batch: UserLine[] = [];
  for await (const read of lines) {
    const made = 'fault' in read ? read : toNewUser(read.fields, now());
    const fault = 'fault' in made ? made.fault : findRepetition(seen, { line: read.line, ...made });
    if (fault !== null) refuseLine(read.line, fault);
    else if ('user' in made) batch.push({ line: read.line, user: made.user });
    if (batch.length < BATCH) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

/** Which identifier an earlier line has as well, or null. */
function findRepetition(seen: SeenTexts, { line, user }: UserLine): string | null {
  for (const [name, value] of [['email', user.email], ['username', user.usernameKey]] as const) {
    const first = value === null ? line : seen.firstLineOf(`${name} ${value}`, line);
    if (first !== line) return `${name}: the same as in line ${first}`;
  }
  return null;
}

async function importBatch(importer: Parameters<typeof importUsers>[0], batch: UserLine[], dryRun: boolean, total: Total, report: Context['report']) {
  const { imported, present, refused } = await importUsers(importer, batch, dryRun);
  total.imported += imported;
  total.present += present;
  for (const { line, reason } of refused) refuse(total, report, line, reason);
}

function refuse(total: Total, report: Context['report'], line: number, reason: string) {
  total.refused += 1;
  if (total.listed.length < MAX_LISTED) total.listed.push({ line, reason });
  report(`line ${line}: ${reason}`);
}

function summarize(file: string, { imported, present, refused, listed }: Total, dryRun: boolean) {
  return {
    failed: refused > 0,
    json: { file, dryRun, imported, alreadyThere: present, refused, refusedLines: listed },
    text: `${count(imported)} users ${dryRun ? 'would be imported' : 'imported'}, ${count(present)} were there already, ${count(refused)} lines refused${
      refused > 0 ? ' (each is told on standard error)' : ''}.`,
  };
}
