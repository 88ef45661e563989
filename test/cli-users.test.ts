import { spawnSync } from 'node:child_process';
import { createWriteStream, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import argon2 from 'argon2';
import bcrypt from 'bcrypt';
import Database from 'better-sqlite3';
import { expect, onTestFinished, test, vi } from 'vitest';
import { loadConfig } from '../src/config.ts';
import { chooseArgon2 } from '../src/core/argon2.ts';
import { openStore } from '../src/store/store.ts';
import { databaseFor, PASSWORD, startApp, temporaryFolder, TEST_ENVIRONMENT } from './support/app.ts';
import { cli, cliHere, spawnCli } from './support/cli.ts';
import { query } from './support/postgres.ts';
import { startServer, tokensIn } from './support/server.ts';

const HASH = bcrypt.hashSync(PASSWORD, 4);
type Line = Record<string, unknown>;

/** A folder with a database of its own, and ways to import lines into it. */
async function startFolder() {
  const folder = temporaryFolder();
  const env = { DATA_DIR: folder, ...(await databaseFor(folder)) };
  await (await openStore(loadConfig({ ...TEST_ENVIRONMENT, ...env }).database)).close(); // as the first start of the server does
  const file = join(folder, 'users.jsonl');
  const importFile = async (path: string, ...options: string[]) => {
    const { code, stdout, stderr } = await cliHere(['users', 'import', path, '--json', ...options], env);
    return { code, stderr, result: JSON.parse(stdout) as { imported: number; alreadyThere: number; refused: number; refusedLines: { line: number; reason: string }[] } };
  };
  const importText = (text: string | Buffer, name = 'users.jsonl', ...options: string[]) => {
    writeFileSync(join(folder, name), text);
    return importFile(join(folder, name), ...options);
  };
  return { folder, env, file, importFile, importText, importLines: (lines: Line[], ...options: string[]) => importText(toJsonl(lines), 'users.jsonl', ...options) };
}

function toJsonl(lines: Line[]): string {
  return lines.map((line) => JSON.stringify({ password_hash: HASH, ...line })).join('\n');
}

async function usersIn(folder: string, ...names: string[]) {
  const { app } = await startApp({ DATA_DIR: folder });
  return Promise.all(names.map(async (name) => (await app.store.users.findByIdentifier(name, name))[0]));
}

const at = (iso: string) => Date.parse(iso);

test('takes over what JSON Lines and CSV have of a user, and nothing else', async () => {
  const { folder, importLines, importText } = await startFolder();
  expect((await importText(`\ufeff${toJsonl([{ username: 'bom' }])}\r\n`)).result.imported).toBe(1);
  const first = await importLines([
    { email: 'John@Example.com', username: 'John_1', email_verified: true, roles: ['admin', 'editor', 'admin'], created_at: '2020-02-29T12:30:15.5+01:00' },
    { email: 'jane@example.com', username: null, email_verified: '2021-01-01 00:00:00.123456+00', roles: 'a, b;'.replace(';', ''), created_at: 1_600_000_000 },
    { username: 'joe', email_verified: false, roles: [], created_at: '1600000000123' },
    { username: 'jim', created_at: '2020-01-02' },
  ]);
  expect([first.code, first.result]).toEqual([0, expect.objectContaining({ ok: true, imported: 4, alreadyThere: 0, refused: 0, refusedLines: [] })]);
  const csv = `\ufeffusername,password_hash,created_at,email,roles,email_verified\r\n"Ann",${HASH},2020-01-02 03:04,ann@example.com,"x, y",t\r\n\r\nbob,"${HASH}",,,,\r\n`;
  const second = await importText(csv, 'users.CSV');
  expect([second.code, second.result.imported]).toEqual([0, 2]);
  const users = await usersIn(folder, 'john@example.com', 'jane@example.com', 'joe', 'jim', 'ann', 'bob');
  const now = expect.closeTo(Date.now(), -5) as number;
  const base = { passwordHash: expect.stringMatching(/^\$keyturn-wrap\$\$2b\$04\$.{22}A{31}\$argon2id\$/) as string, emailVerifiedAt: null, lastSignedInAt: null, verifyBy: null, roles: '', id: expect.stringMatching(/^[\w-]{22}$/) };
  expect(users).toEqual([
    { ...base, email: 'john@example.com', username: 'John_1', usernameKey: 'john_1', emailVerifiedAt: now, roles: 'admin editor', createdAt: at('2020-02-29T11:30:15.500Z'), passwordChangedAt: at('2020-02-29T11:30:15.500Z') },
    { ...base, email: 'jane@example.com', username: null, usernameKey: null, emailVerifiedAt: at('2021-01-01T00:00:00.123Z'), roles: 'a b', createdAt: 1_600_000_000_000, passwordChangedAt: 1_600_000_000_000 },
    { ...base, email: null, username: 'joe', usernameKey: 'joe', createdAt: 1_600_000_000_123, passwordChangedAt: 1_600_000_000_123 },
    { ...base, email: null, username: 'jim', usernameKey: 'jim', createdAt: at('2020-01-02T00:00:00Z'), passwordChangedAt: at('2020-01-02T00:00:00Z') },
    { ...base, email: 'ann@example.com', username: 'Ann', usernameKey: 'ann', emailVerifiedAt: now, roles: 'x y', createdAt: at('2020-01-02T03:04:00Z'), passwordChangedAt: at('2020-01-02T03:04:00Z') },
    { ...base, email: null, username: 'bob', usernameKey: 'bob', createdAt: now, passwordChangedAt: now },
  ]);
  const { post } = await startApp({ DATA_DIR: folder });
  expect((await post('/auth/login', { email: 'john@example.com', password: PASSWORD })).json()).toMatchObject({ user: { email_verified: true, roles: ['admin', 'editor'], created_at: '2020-02-29T11:30:15.500Z' } });
});

const KNOWN = 'known are email, username, password_hash, email_verified, roles, created_at';
const NO_TIME = 'is no time such as 2026-01-31T09:30:00Z, nor seconds or milliseconds since 1970';
const NO_ROLES = 'roles: must be a list of names of letters, digits, _ . : and -, of 1000 characters at most';
const REFUSED: [line: string | Buffer | Line, reason: string][] = [
  ['{"username": "secret-name"', 'is not JSON'],
  ['["secret-name"]', 'is not a JSON object'],
  ['null', 'is not a JSON object'],
  [{ username: 'a', id: 'secret-name' }, `has a field that is not known; ${KNOWN}`],
  ['{"__proto__": {"username": "secret-name"}}', `has a field that is not known; ${KNOWN}`],
  [Buffer.from('{"username":"secret-name\xff"}', 'latin1'), 'is not UTF-8'],
  [`{"username":"secret-name${' '.repeat(65_536)}"}`, 'is longer than 65536 bytes'],
  [{ email: 'secret-name' }, 'email: is not an address such as john@example.com, of at most 254 characters'],
  [{ email: 7 }, 'email: is not an address such as john@example.com, of at most 254 characters'],
  [{ username: 'secret-name' }, 'username: must have 1 to 64 letters, digits and _'],
  [{ username: '' }, 'username: must have 1 to 64 letters, digits and _'],
  [{}, 'needs an email or a username'],
  [{ username: 'a', password_hash: null }, 'password_hash: is missing'],
  [{ username: 'a', password_hash: 5 }, 'password_hash: is not text'],
  [{ username: 'a', password_hash: 'secret-name' }, 'password_hash: is no password hash of a known format'],
  [{ username: 'a', password_hash: HASH.replace('$04$', '$16$') }, 'password_hash: costs too much: 16 bcrypt cost, at most 15'],
  [{ username: 'a', email_verified: true }, 'email_verified: there is no email'],
  [{ email: 'a@example.com', email_verified: 'secret-name' }, `email_verified: ${NO_TIME}`],
  [{ email: 'a@example.com', email_verified: {} }, `email_verified: ${NO_TIME}`],
  [{ email: 'a@example.com', email_verified: '2999-01-01' }, 'email_verified: lies in the future'],
  [{ username: 'a', created_at: '2021-02-29' }, `created_at: ${NO_TIME}`],
  [{ username: 'a', created_at: '2021-13-01' }, `created_at: ${NO_TIME}`],
  [{ username: 'a', created_at: '2021-01-01T25:00:00Z' }, `created_at: ${NO_TIME}`],
  [{ username: 'a', created_at: '1/2/2021' }, `created_at: ${NO_TIME}`],
  [{ username: 'a', created_at: -5 }, `created_at: ${NO_TIME}`],
  [{ username: 'a', created_at: '9'.repeat(30) }, `created_at: ${NO_TIME}`],
  [{ username: 'a', created_at: 99_999_999_999_999 }, 'created_at: lies in the future'],
  [{ username: 'a', roles: 5 }, NO_ROLES],
  [{ username: 'a', roles: ['secret name'] }, NO_ROLES],
  [{ username: 'a', roles: Array.from({ length: 20 }, (_, index) => `${'r'.repeat(60)}${index}`) }, NO_ROLES],
];

test('refuses each line that will not do, by number and reason, repeats nothing of it, and imports the others', async () => {
  const { importText, folder } = await startFolder();
  const lines = [{ username: 'first' }, ...REFUSED.map(([line]) => line), { username: 'last' }];
  const bytes = lines.map((line) => (typeof line === 'string' || Buffer.isBuffer(line) ? line : toJsonl([line])));
  const { code, stderr, result } = await importText(Buffer.concat(bytes.map((line) => Buffer.concat([Buffer.from(line), Buffer.from('\n')]))));
  expect(result).toMatchObject({ ok: false, imported: 2, refused: REFUSED.length });
  expect(result.refusedLines).toEqual(REFUSED.map(([, reason], index) => ({ line: index + 2, reason })));
  expect(stderr).toContain(REFUSED.map(([, reason], index) => `line ${index + 2}: ${reason}\n`).join(''));
  expect(code).toBe(1);
  for (const secret of ['secret', HASH.slice(7), 'a@example']) expect(stderr + JSON.stringify(result)).not.toContain(secret);
  expect((await usersIn(folder, 'first', 'last', 'a')).map((user) => user?.username)).toEqual(['first', 'last', undefined]);
});

test('refuses broken lines of CSV one by one, and a file whose header will not do at once', async () => {
  const { env, folder, importText } = await startFolder();
  const csv = ['username,password_hash', `"john,${HASH}`, `jo"hn,${HASH}`, `"john"x,${HASH}`, `john,${HASH},more`, 'john', `,${HASH}`, 'joe,', `jane,${HASH}`].join('\n');
  const { code, result } = await importText(csv, 'users.csv');
  const broken = 'is not CSV: a quotation mark is out of place (a field cannot hold a line break)';
  expect([code, result.imported, result.refusedLines.map(({ line, reason }) => `${line} ${reason}`)]).toEqual([1, 1, [
    `2 ${broken}`, `3 ${broken}`, `4 ${broken}`, '5 has 3 fields, and the header 2', '6 has 1 fields, and the header 2',
    '7 needs an email or a username', '8 password_hash: is missing',
  ]]);
  const headers = { '': 'no header', [`john,${HASH}\n`]: 'known columns', 'username,password_hash,id\n': 'known columns', 'username,email\n': 'no column password_hash', 'email,email,password_hash\n': 'twice', '"email\n': 'known columns' };
  for (const [header, reason] of Object.entries(headers)) {
    writeFileSync(join(folder, 'users.csv'), header);
    const refused = await cliHere(['users', 'import', join(folder, 'users.csv')], env);
    expect([header, refused.code, refused.stdout, refused.stderr]).toEqual([header, 2, '', expect.stringContaining(reason)]);
    expect(refused.stderr).not.toMatch(/john|\$2b/);
  }
});

test('an identifier that an earlier line or another account has is refused, and names which', async () => {
  const { importLines, folder } = await startFolder();
  await importLines([{ email: 'john@example.com', username: 'john' }, { username: 'jane' }]);
  const { code, result } = await importLines([
    { email: 'JOHN@example.com', username: 'johnny' },
    { email: 'new@example.com', username: 'JANE' },
    { email: 'ann@example.com', username: 'ann' },
    { email: 'Ann@Example.com' },
    { email: 'other@example.com', username: 'ANN' },
    { email: 'john2@example.com', username: 'john2', password_hash: 'none' },
    { email: 'john2@example.com', username: 'john2' },
  ]);
  expect([code, result.imported, result.alreadyThere, result.refusedLines]).toEqual([1, 2, 0, [
    { line: 4, reason: 'email: the same as in line 3' },
    { line: 5, reason: 'username: the same as in line 3' },
    { line: 6, reason: 'password_hash: is no password hash of a known format' },
    { line: 1, reason: 'email: taken by another account' },
    { line: 2, reason: 'username: taken by another account' },
  ]]);
  const both = await importLines([{ email: 'john@example.com', username: 'jane' }]);
  expect(both.result.refusedLines).toEqual([{ line: 1, reason: 'email and username: taken by another account' }]);
  expect((await usersIn(folder, 'new@example.com', 'other@example.com')).filter(Boolean)).toEqual([]);
});

test('importing twice changes nothing: who is there already is counted, and keeps what has changed since', async () => {
  const { importLines, folder } = await startFolder();
  const lines = Array.from({ length: 1234 }, (_, index) => ({ email: `user${index}@example.com`, ...(index % 2 && { username: `user${index}` }) }));
  expect((await importLines(lines)).result).toMatchObject({ imported: 1234, alreadyThere: 0 });
  const { app, post } = await startApp({ DATA_DIR: folder });
  expect((await post('/auth/login', { email: 'user7@example.com', password: PASSWORD })).statusCode).toBe(200);
  const before = await usersIn(folder, 'user7@example.com', 'user8@example.com');
  expect(before[0]?.passwordHash).toMatch(/^\$argon2id/);
  const again = await importLines([...lines, { email: 'more@example.com' }], '--dry-run');
  expect([again.code, again.result]).toEqual([0, expect.objectContaining({ dryRun: true, imported: 1, alreadyThere: 1234, refused: 0 })]);
  expect((await importLines([...lines, { email: 'more@example.com' }])).result).toMatchObject({ imported: 1, alreadyThere: 1234 });
  expect(await usersIn(folder, 'user7@example.com', 'user8@example.com')).toEqual(before);
  expect((await app.store.users.findByIdentifier('more@example.com', null)).length).toBe(1);
});

test('an old hash is computed over once: not in a dry run, and not for who is there already', async () => {
  const { importLines } = await startFolder();
  const hash = vi.spyOn(await chooseArgon2(), 'hash');
  onTestFinished(() => hash.mockRestore());
  const lines = Array.from({ length: 450 }, (_, index) => ({ username: `user${index}` }));
  const hashesOf = async (users: Line[], ...options: string[]) => {
    hash.mockClear();
    const { imported, alreadyThere } = (await importLines(users, ...options)).result;
    return [imported, alreadyThere, hash.mock.calls.length];
  };
  expect(await hashesOf(lines, '--dry-run')).toEqual([450, 0, 0]);
  expect(await hashesOf(lines)).toEqual([450, 0, 450]);
  expect(await hashesOf([...lines, { username: 'more' }])).toEqual([1, 450, 1]);
  const ready = await argon2.hash(PASSWORD, { memoryCost: 16, timeCost: 1, parallelism: 1 });
  expect(await hashesOf([{ username: 'ready', password_hash: ready }])).toEqual([1, 0, 0]);
});

test('--dry-run checks everything and adds nobody', async () => {
  const { importLines, folder } = await startFolder();
  const { code, result } = await importLines([{ username: 'john' }, { username: 'JOHN' }, { username: 'j!' }], '--dry-run');
  expect([code, result]).toEqual([1, expect.objectContaining({ dryRun: true, imported: 1, refused: 2 })]);
  expect(await usersIn(folder, 'john')).toEqual([undefined]);
});

test('killed in the middle and run again, beside a server that is used: everyone is there once', async () => {
  const { env, file } = await startFolder();
  const total = 10_000;
  writeFileSync(file, toJsonl(Array.from({ length: total }, (_, index) => ({ username: `user${index}` }))));
  const server = await startServer(env);
  const first = spawnCli(['users', 'import', file], env);
  const signIn = async (name: string) => (await server.post('/auth/login', { username: name, password: PASSWORD })).status;
  while ((await signIn('user1000')) !== 200) expect(first.child.exitCode).toBe(null);
  first.child.kill('SIGKILL');
  await first.ended;
  expect(await signIn(`user${total - 1}`)).toBe(401);
  let [running, served] = [true, 0];
  const client = (async () => {
    for (; running; served += 1) await tokensIn(await server.post('/auth/register', { username: `new${served}`, password: PASSWORD }));
  })();
  const second = await cli(['users', 'import', file, '--json'], env);
  running = false;
  await client;
  const { imported, alreadyThere, refused } = JSON.parse(second.stdout) as Record<string, number>;
  expect([second.code, refused, (imported ?? 0) + (alreadyThere ?? 0)]).toEqual([0, 0, total]);
  expect(alreadyThere).toBeGreaterThanOrEqual(1000);
  expect(served).toBeGreaterThan(3);
  expect([await signIn('user0'), await signIn(`user${total - 1}`)]).toEqual([200, 200]);
});

test('memory does not grow with the file', async () => {
  const { env, file } = await startFolder();
  const write = createWriteStream(file);
  for (let index = 0; index < 24_000; index += 1) {
    if (!write.write(index % 4500 === 4499 ? 'broken\n' : `${JSON.stringify({ email: `user${index}@example.com`, username: `user${index}`, password_hash: HASH })}\n`)) await once(write, 'drain');
  }
  write.end();
  await once(write, 'finish');
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const used: number[] = [];
  const { runCommand } = await import('../src/cli/run.ts');
  const { TEST_ENVIRONMENT } = await import('./support/app.ts');
  const stderr = { write: (text: string) => {
    if (!text.startsWith('line')) return;
    collect();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    used.push(heapUsed + arrayBuffers);
  } };
  expect(await runCommand(['users', 'import', file], { ...TEST_ENVIRONMENT, ...env }, { stdout: { write: () => undefined }, stderr })).toBe(1);
  expect(used).toHaveLength(5);
  const [, early = 0, , , late = 0] = used;
  expect(late - early).toBeLessThan(2_500_000); // 13,500 users lie between them: kept, they would be 4.7 MB
});

test('standard input, the terminal, help and what is not understood', async () => {
  const { env, folder } = await startFolder();
  const piped = spawnSync(process.execPath, ['src/cli.ts', 'users', 'import', '-', '--format', 'jsonl'], { env: { PATH: process.env.PATH, NODE_ENV: 'test', ...env }, input: toJsonl([{ username: 'john' }]), encoding: 'utf8' });
  expect([piped.status, piped.stdout]).toEqual([0, '1 users imported, 0 were there already, 0 lines refused.\n']);
  writeFileSync(join(folder, 'users.txt'), `username,password_hash\n\nj!,${HASH}\n`);
  const shown = await cliHere(['users', 'import', join(folder, 'users.txt'), '--format', 'csv'], env, true);
  expect(shown).toMatchObject({ code: 1, stdout: '0 users imported, 0 were there already, 1 lines refused (each is told on standard error).\n' });
  expect(shown.stderr).toContain('\r\u001b[Kline 3: username');
  const page = await cliHere(['help', 'users', 'import'], {});
  expect([page.code, page.stdout]).toEqual([0, expect.stringContaining('keyturn users import FILE [--format csv|jsonl]')]);
  expect(page.stdout).toContain('\n  3  refused, nothing was done: the database is not there');
  expect(await cliHere(['users', 'import', '--help'], {})).toEqual(page);
  expect((await cliHere(['help'], {})).stdout).toContain('users import');
  const mistakes = [['users'], ['users', 'export'], ['users', 'import'], ['users', 'import', 'a.csv', 'b.csv'], ['users', 'import', 'users.txt'], ['users', 'import', 'a.csv', '--format', 'xml'], ['help', 'users'], ['users', 'import', '-']];
  for (const args of mistakes) expect([args, (await cliHere(args, env)).code]).toEqual([args, 2]);
  const missing = await cliHere(['users', 'import', join(folder, 'none.csv')], env);
  expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('ENOENT') });
});

test('an address is valid or not by the same rule as over HTTP', async () => {
  const { importLines } = await startFolder();
  const { post } = await startApp();
  const lengths = [`${'a'.repeat(64)}@b.cd`, `${'a'.repeat(65)}@b.cd`, `a@${'b'.repeat(63)}.cd`, `a@${'b'.repeat(64)}.cd`, `${'a'.repeat(250)}@b.cd`];
  const addresses = ['a@b.cd', 'a@b', 'a@-b.cd', 'a.@b.cd', 'ä@b.cd', 'a@bä.cd', '"a"@b.cd', 'a@b.c', 'a@[127.0.0.1]', 'a@127.0.0.1', ' a@b.cd', "o'neil@b.cd", 'a@b@c.de',
    'a\n@b.cd', '=?x?q?a=40evil.example=3e=00?=b@c.example', '\u212a@b.cd', ...lengths];
  for (const email of addresses) {
    const { result } = await importLines([{ email }], '--dry-run');
    const answer = await post('/auth/register', { email, password: PASSWORD });
    expect([email, answer.statusCode]).toEqual([email, result.imported === 1 ? 201 : 422]);
  }
});

/** Values that JSON can write and no column expects; the deep ones end the stack of whoever turns them into text. */
const ODD: unknown[] = [
  { toString: 1 }, { toString: null }, { valueOf: null, toString: {} }, { length: 1 }, {}, [], [[]], [null], [{ toString: null }], [[['a']]], ['a', 1], [true],
  true, false, null, 0, -0, -1, 1.5, 1e300, -1e300, Number.MAX_SAFE_INTEGER, '', ' ', '\0', '\ud800', 'constructor', '__proto__', 'NaN', 'Infinity',
  '-271821-04-20', '+275760-09-13T00:00:00.001Z', '9'.repeat(400), 'a'.repeat(5000), ['a'.repeat(5000)],
];
const DEEP = `${'['.repeat(30_000)}${']'.repeat(30_000)}`;

test('whatever JSON a line holds, it is imported or refused by its number, and costs no other line', async () => {
  const { importText, folder } = await startFolder();
  const fields = ['email', 'username', 'password_hash', 'email_verified', 'roles', 'created_at'];
  const odd = fields.flatMap((field) => [...ODD.map((value) => JSON.stringify(value)), DEEP, `{"a":${DEEP}}`].map((value, index) => {
    const others = { email: `${field}${index}@example.com`, username: `${field}${index}`, password_hash: HASH };
    return `${JSON.stringify({ ...others, [field]: 0 }).slice(0, -1)},${JSON.stringify(field)}:${value}}`;
  }));
  const lines = odd.flatMap((line, index) => [JSON.stringify({ username: `good${index}`, password_hash: HASH }), line]);
  const { code, stderr, result } = await importText(lines.join('\n'));
  expect([code, result.imported + result.refused]).toEqual([1, lines.length]);
  expect(result.refusedLines.every(({ line, reason }) => line % 2 === 0 && /^(email|username|password_hash|email_verified|roles|created_at): /.test(reason))).toBe(true);
  expect(stderr.match(/^line \d+: /gm)).toHaveLength(result.refused);
  const good = await usersIn(folder, ...odd.map((_line, index) => `good${index}`));
  expect(good.filter((user) => user === undefined)).toEqual([]);
});

test('no command makes a database or a key, and none migrates a database: an older one is refused and left as it is', async () => {
  const folder = join(temporaryFolder(), 'not', 'there');
  const env = { DATA_DIR: folder, ...(await databaseFor(folder)) };
  const file = join(temporaryFolder(), 'users.jsonl');
  writeFileSync(file, toJsonl([{ email: 'john@example.com' }]));
  for (const options of [[], ['--dry-run']]) {
    expect(await cliHere(['users', 'import', file, ...options], env)).toMatchObject({
      code: 3, stderr: expect.stringContaining('there is no database of Keyturn yet: start the server once, which makes it') as string,
    });
  }
  const others = [['restore', file], ['move', '--to', `sqlite:${temporaryFolder()}/other.db`], ['backup', join(temporaryFolder(), 'copy.db')]];
  for (const args of others) expect((await cliHere(args, env)).code).not.toBe(0);
  expect(existsSync(folder)).toBe(false);

  const { database } = loadConfig({ ...TEST_ENVIRONMENT, ...env });
  await (await openStore(database)).close();
  const migrations = database.dialect === 'postgres' ? 'keyturn_migrations' : '__drizzle_migrations';
  const run = async (text: string): Promise<unknown[]> => {
    if (database.dialect === 'postgres') return (await query(database.url, text)).rows;
    const connection = new Database(database.path);
    try {
      const statement = connection.prepare(text);
      return statement.reader ? statement.all() : [statement.run().changes];
    } finally {
      connection.close();
    }
  };
  await run(`DELETE FROM ${migrations} WHERE created_at = (SELECT max(created_at) FROM ${migrations})`);
  const before = await run(`SELECT * FROM ${migrations}`);
  expect(await cliHere(['users', 'import', file], env)).toMatchObject({
    code: 3, stderr: expect.stringContaining('the database is of an older Keyturn: start the server of this version, which migrates it') as string,
  });
  expect(await run(`SELECT * FROM ${migrations}`)).toEqual(before);
});

test('a command that finds no key makes none', async () => {
  const { folder, env, importLines } = await startFolder();
  rmSync(join(folder, 'secret.key'), { force: true });
  expect(await importLines([{ email: 'john@example.com' }])).toMatchObject({ code: 0 });
  if (!('DATABASE_URL' in env)) expect(await cliHere(['backup', join(folder, 'copy.db')], env)).toMatchObject({ code: 0 });
  expect(readdirSync(folder).filter((name) => /secret|pem/.test(name))).toEqual([]);
});
