import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { PASSWORD, startApp, temporaryFolder } from './support/app.ts';
import { cli, cliHere } from './support/cli.ts';
import { startServer, type Tokens, tokensIn } from './support/server.ts';

const SECRET_KEY = 'YW5vdGhlciBrZXkgZm9yIHRoZSBjb21tYW5kIG9ubHkhIQ';

/** A folder with a closed database in which john has one live session. */
async function folderOfJohn() {
  const folder = temporaryFolder();
  const { app, register } = await startApp({ DATA_DIR: folder, SECRET_KEY });
  const tokens = await register();
  await app.close();
  return { folder, env: { DATA_DIR: folder, SECRET_KEY }, path: join(folder, 'keyturn.db'), file: join(folder, 'backup.db'), tokens };
}

function change(path: string, statement: string) {
  const connection = new Database(path);
  connection.exec(statement);
  connection.close();
}

function read(path: string, statement: string): unknown {
  const connection = new Database(path, { readonly: true });
  try {
    return connection.prepare(statement).pluck().get();
  } finally {
    connection.close();
  }
}

test('a backup under write load holds every write that was answered before it began, is sound, and restores', async () => {
  const folder = temporaryFolder();
  const env = { DATA_DIR: folder, SECRET_KEY };
  const server = await startServer(env);
  const answered: { name: string; tokens: Tokens }[] = [];
  let running = true;
  const clients = Array.from({ length: 4 }, async (_each, client) => {
    for (let time = 0; running; time += 1) {
      const name = `user_${client}_${time}`;
      answered.push({ name, tokens: await tokensIn(await server.post('/auth/register', { username: name, password: PASSWORD })) });
    }
  });
  while (answered.length < 100) await new Promise((resolve) => setTimeout(resolve, 10));
  const before = answered.slice();
  const file = join(folder, 'backup.db');
  const backup = await cli(['backup', file, '--json'], env);
  const during = answered.length - before.length;
  running = false;
  await Promise.all(clients);
  expect(backup).toMatchObject({ code: 0 });
  expect(JSON.parse(backup.stdout)).toMatchObject({ ok: true, command: 'backup', file });
  expect(during).toBeGreaterThan(0);
  expect(statSync(file).mode & 0o777).toBe(0o600);

  const other = temporaryFolder();
  expect(await cli(['restore', file, '--keep-sessions'], { DATA_DIR: other, SECRET_KEY })).toMatchObject({ code: 0 });
  const restored = join(other, 'keyturn.db');
  expect(read(restored, 'PRAGMA integrity_check')).toBe('ok');
  const copy = await startServer({ DATA_DIR: other, SECRET_KEY });
  for (const { tokens } of before) expect((await copy.post('/auth/refresh', { refresh_token: tokens.refresh_token })).status).toBe(200);
  expect((await copy.post('/auth/login', { username: before.at(-1)!.name, password: PASSWORD })).status).toBe(200);
});

test('restore refuses while a server runs, even with --force, and the server goes on', async () => {
  const { folder, env, file, tokens } = await folderOfJohn();
  const server = await startServer(env);
  expect(await cli(['backup', file], env)).toMatchObject({ code: 0 });
  const refused = await cli(['restore', file, '--force'], env);
  expect(refused).toMatchObject({ code: 3, stdout: '' });
  expect(refused.stderr).toContain('in use');
  expect((await server.post('/auth/refresh', { refresh_token: tokens.refreshToken })).status).toBe(200);
  expect(readdirSync(folder).filter((name) => /part|before-restore/.test(name))).toEqual([]);
  await server.stop('SIGTERM');
  expect(await cli(['restore', file, '--force'], env)).toMatchObject({ code: 0 });
});

test('a restored database has no live session and no mailed link, unless told --keep-sessions', async () => {
  const { env, path, file, tokens } = await folderOfJohn();
  await cliHere(['backup', file], env);
  const ended = await cliHere(['restore', file, '--force', '--json'], env);
  expect(JSON.parse(ended.stdout)).toMatchObject({ ok: true, sessionsEnded: 1, liveSessions: 0 });
  expect(read(path, 'SELECT revoked_reason FROM sessions')).toBe('restored');
  expect([read(path, 'SELECT count(*) FROM one_time_tokens'), read(path, 'SELECT count(*) FROM mails')]).toEqual([0, 0]);
  const first = await startApp(env);
  expect((await first.refresh(tokens.refreshToken)).statusCode).toBe(401);
  expect((await first.get('/users/me', tokens.accessToken)).statusCode).toBe(401);
  await first.app.close();
  const kept = await cliHere(['restore', file, '--force', '--keep-sessions', '--json'], env);
  expect(JSON.parse(kept.stdout)).toMatchObject({ ok: true, sessionsEnded: 0, liveSessions: 1, sessionsWithoutKey: 0 });
  expect(read(path, 'SELECT count(*) FROM one_time_tokens')).toBe(1);
  const second = await startApp(env);
  expect((await second.refresh(tokens.refreshToken)).statusCode).toBe(200);
});

test('a database that holds users is replaced only with --force, and then kept; --keep-sessions tells of a missing key', async () => {
  const { env, path, file } = await folderOfJohn();
  await cliHere(['backup', file], env);
  change(path, "UPDATE users SET email = 'later@example.com'");
  const refused = await cliHere(['restore', file], env);
  expect([refused.code, refused.stderr]).toEqual([3, expect.stringContaining('holds 1 users')]);
  expect(read(path, 'SELECT email FROM users')).toBe('later@example.com');
  expect(read(path, 'PRAGMA journal_mode')).toBe('wal');
  const done = await cliHere(['restore', file, '--force', '--keep-sessions', '--json'], { ...env, SECRET_KEY: SECRET_KEY.toLowerCase() });
  const { kept, sessionsWithoutKey } = JSON.parse(done.stdout) as { kept: string; sessionsWithoutKey: number };
  expect([read(path, 'SELECT email FROM users'), read(kept, 'SELECT email FROM users'), sessionsWithoutKey]).toEqual(['john@example.com', 'later@example.com', 1]);
  expect([path, kept].map((name) => statSync(name).mode & 0o777)).toEqual([0o600, 0o600]);
});

test('a server that starts during a restore fails to, or serves what was restored, never the file that was replaced', async () => {
  const { env, path, file } = await folderOfJohn();
  await cliHere(['backup', file], env);
  const restoring = cli(['restore', file, '--force'], env);
  let server: Awaited<ReturnType<typeof startServer>> | undefined;
  while (existsSync(`${path}-wal`)) await new Promise((resolve) => setTimeout(resolve, 1));
  while (readdirSync(env.DATA_DIR).every((name) => !/part|before-restore/.test(name))) await new Promise((resolve) => setTimeout(resolve, 1));
  while (!server) server = await startServer(env).catch(() => undefined);
  await tokensIn(await server.post('/auth/register', { username: 'jane', password: PASSWORD }));
  expect(await restoring).toMatchObject({ code: 0 });
  await server.stop('SIGTERM');
  expect(read(path, 'SELECT count(*) FROM users')).toBe(2);
  expect(read(path, 'PRAGMA integrity_check')).toBe('ok');
});

test('an empty or unused database gives way without --force', async () => {
  const { env, file } = await folderOfJohn();
  await cliHere(['backup', file], env);
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'keyturn.db'), '');
  writeFileSync(join(folder, 'keyturn.db-wal'), 'stale');
  expect(await cliHere(['restore', file], { DATA_DIR: folder })).toMatchObject({ code: 0 });
  expect(read(join(folder, 'keyturn.db'), 'SELECT email FROM users')).toBe('john@example.com');
});

test('a file that is damaged, foreign or newer is not restored, and the database stays', async () => {
  const { folder, env, path, file } = await folderOfJohn();
  await cliHere(['backup', file], env);
  const whole = readFileSync(file);
  const rejects = async (problem: RegExp) => {
    const { code, stderr } = await cliHere(['restore', file, '--force'], env);
    expect([code, stderr]).toEqual([1, expect.stringMatching(problem)]);
  };
  writeFileSync(file, 'plain text, and long enough to be no database at all'.repeat(20));
  await rejects(/not a database/);
  writeFileSync(file, whole.map((byte, at) => (at > 4096 && at < 9000 ? 0xff : byte)));
  await rejects(/damaged|malformed/);
  writeFileSync(file, whole);
  change(file, 'PRAGMA foreign_keys = OFF; DELETE FROM users');
  await rejects(/damaged: \d+ rows refer/);
  writeFileSync(file, whole);
  change(file, 'UPDATE __drizzle_migrations SET created_at = created_at + 1');
  await rejects(/newer Keyturn/);
  change(file, 'DROP TABLE sessions');
  await rejects(/not a database of Keyturn/);
  expect(read(path, 'SELECT email FROM users')).toBe('john@example.com');
  expect(readdirSync(folder).filter((name) => /part|before-restore/.test(name))).toEqual([]);
  writeFileSync(file, whole);
  writeFileSync(path, 'no database either'.repeat(50));
  await rejects(/move it away/);
});

test('backup never overwrites unasked, nor the database itself', async () => {
  const { env, path, file } = await folderOfJohn();
  writeFileSync(file, 'precious');
  expect(await cliHere(['backup', file], env)).toMatchObject({ code: 3, stdout: '' });
  expect(readFileSync(file, 'utf8')).toBe('precious');
  expect(await cliHere(['backup', file, '--force'], env)).toMatchObject({ code: 0 });
  expect(await cliHere(['backup', path, '--force'], env)).toMatchObject({ code: 3 });
  expect(await cliHere(['restore', path, '--force'], env)).toMatchObject({ code: 3 });
  expect(await cliHere(['backup', file, '--force'], { DATA_DIR: temporaryFolder() })).toMatchObject({ code: 1 });
  expect(read(file, 'SELECT count(*) FROM users')).toBe(1);
});

test('what is said holds no key, and names where the key is', async () => {
  const { env, file } = await folderOfJohn();
  const { DATA_DIR } = env;
  await startApp({ DATA_DIR }).then(({ app }) => app.close());
  const key = readFileSync(join(DATA_DIR, 'secret.key'), 'utf8').trim();
  const outputs = [
    await cliHere(['backup', file], { DATA_DIR }, true),
    await cliHere(['move', '--to', `sqlite:${DATA_DIR}/other.db`], { DATA_DIR }, true),
    await cliHere(['move', '--to', 'postgres://me:pass-word@127.0.0.1:1/none'], env),
  ];
  expect(outputs.map(({ code }) => code)).toEqual([0, 0, 1]);
  expect(outputs[0]?.stdout).toContain(join(DATA_DIR, 'secret.key'));
  expect(outputs[1]?.stdout).toContain(`SECRET_KEY to the content of ${join(DATA_DIR, 'secret.key')}`);
  expect(JSON.stringify(outputs)).not.toContain('pass-word');
  for (const secret of [key, SECRET_KEY]) expect(JSON.stringify(outputs)).not.toContain(secret);
});

test('a move between SQLite files: refused while served, --live rehearses, rows of another database are refused', async () => {
  const { folder, env, path, tokens } = await folderOfJohn();
  const to = ['move', '--to', `sqlite:${folder}/other.db`, '--json'];
  const server = await startServer(env);
  expect(await cliHere(to, env)).toMatchObject({ code: 3 });
  expect(existsSync(`${folder}/other.db`)).toBe(false);
  expect(JSON.parse((await cliHere([...to, '--live'], env)).stdout)).toMatchObject({ ok: true, tables: expect.arrayContaining([expect.objectContaining({ table: 'users', rows: 1, copied: 1 }), expect.objectContaining({ table: 'sessions', rows: 1, copied: 1 })]) as unknown });
  await server.stop('SIGTERM');
  expect(JSON.parse((await cliHere(to, env)).stdout)).toMatchObject({ tables: expect.arrayContaining([expect.objectContaining({ table: 'users', copied: 0, rows: 1 }), expect.objectContaining({ table: 'sessions', copied: 0, rows: 1 })]) as unknown });
  const other = await startServer({ ...env, DATABASE_URL: `sqlite:${folder}/other.db` });
  expect(await cliHere(to, env)).toMatchObject({ code: 3 });
  expect((await other.post('/auth/refresh', { refresh_token: tokens.refreshToken })).status).toBe(200);
  await other.stop('SIGTERM');
  const changed = await cliHere(to, env);
  expect([changed.code, JSON.parse(changed.stdout)]).toEqual([3, { ok: false, exitCode: 3, error: expect.stringContaining('sessions') }]);
  expect(read(path, 'PRAGMA journal_mode')).toBe('wal');
});

test('a move that does not arrive whole fails and names the table', async () => {
  const { folder, env } = await folderOfJohn();
  const to = ['move', '--to', `sqlite:${folder}/other.db`];
  const spoil = (trigger: string) => {
    change(`${folder}/other.db`, `DELETE FROM sessions; DELETE FROM users; DROP TRIGGER IF EXISTS spoil; CREATE TRIGGER spoil AFTER INSERT ON sessions BEGIN ${trigger}; END`);
    return cliHere(to, env);
  };
  expect(await cliHere(to, env)).toMatchObject({ code: 0 });
  expect(await spoil("UPDATE sessions SET ip = 'elsewhere'")).toMatchObject({ code: 1, stderr: expect.stringContaining('sessions differs: the checksums') });
  expect(await spoil('DELETE FROM sessions')).toMatchObject({ code: 1, stderr: expect.stringContaining('sessions differs: 1 rows in the source, 0 in the target') });
});

test('databases of another version are not moved', async () => {
  const { folder, env, path } = await folderOfJohn();
  const to = ['move', '--to', `sqlite:${folder}/other.db`];
  expect(await cliHere(to, env)).toMatchObject({ code: 0 });
  change(`${folder}/other.db`, 'UPDATE __drizzle_migrations SET created_at = created_at + 1');
  expect(await cliHere(to, env)).toMatchObject({ code: 3, stderr: expect.stringContaining('newer') });
  change(path, 'UPDATE __drizzle_migrations SET created_at = created_at - 1');
  expect(await cliHere(to, env)).toMatchObject({ code: 3, stderr: expect.stringContaining('version') });
});

test('what is not understood ends with 2, in one line, and changes nothing', async () => {
  const folder = temporaryFolder();
  const env = { DATA_DIR: folder };
  const mistakes = [
    [], ['destroy'], ['constructor'], ['backup'], ['backup', 'a', 'b'], ['backup', ''], ['backup', 'a', '--fast'], ['restore'], ['help', 'destroy'],
    ['move'], ['move', '--to', 'mysql://x'], ['move', '--to'], ['move', 'x', '--to', 'sqlite:x'], ['move', '--to', `sqlite:${folder}/keyturn.db`],
  ];
  for (const args of mistakes) {
    const { code, stdout, stderr } = await cliHere(args, env);
    expect([args, code, stdout, stderr.split('\n').length]).toEqual([args, 2, '', 2]);
  }
  expect(await cliHere(['backup', 'x'], { ...env, PORT: 'many' })).toMatchObject({ code: 2, stderr: 'keyturn: PORT: expected integer\n' });
  const postgres = { ...env, SECRET_KEY, DATABASE_URL: 'postgres://me:pass-word@127.0.0.1/none' };
  expect(await cliHere(['backup', 'x'], postgres)).toMatchObject({ code: 2, stderr: expect.stringContaining('pg_dump') });
  expect(await cliHere(['restore', 'x'], postgres)).toMatchObject({ code: 2, stderr: expect.stringContaining('pg_restore') });
  expect(readdirSync(folder).filter((name) => name !== 'secret.key')).toEqual([]);
});

test('the program: help on standard output, --json is one object also of a failure, the exit code is what the shell sees', async () => {
  const env = { DATA_DIR: temporaryFolder() };
  const [help, page, failure] = await Promise.all([cli(['help'], env), cli(['move', '-h'], env), cli(['backup', '/nowhere/x', '--json'], env)]);
  expect([help.code, page.code, failure.code]).toEqual([0, 0, 1]);
  expect([help.stdout, page.stdout]).toEqual([expect.stringContaining('exit codes'), expect.stringContaining('--to URL')]);
  expect(JSON.parse(failure.stdout)).toMatchObject({ ok: false, exitCode: 1 });
  expect(failure.stderr).not.toMatch(/\n\s+at /);
});
