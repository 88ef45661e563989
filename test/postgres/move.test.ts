import { randomUUID } from 'node:crypto';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, inject, test } from 'vitest';
import { openDb } from '../../src/store/db.ts';
import { PASSWORD, startApp, temporaryFolder } from '../support/app.ts';
import { cli, cliHere, spawnCli } from '../support/cli.ts';
import { query } from '../support/postgres.ts';
import { startServer, tokensIn } from '../support/server.ts';

const SECRET_KEY = 'b25lIGtleSBmb3IgYm90aCBob3VzZXMsIG9sZCBhbmQgbmV3';

async function emptyPostgres(): Promise<string> {
  const server = inject('postgres') as string;
  const name = `move_${randomUUID().replaceAll('-', '')}`;
  await query(`${server}/postgres`, `CREATE DATABASE ${name}`);
  return `${server}/${name}`;
}

/** A SQLite database with users, and two sessions for each; every third without an e-mail address, with a name of more than ASCII. */
async function seededSqlite(users: number) {
  const folder = temporaryFolder();
  const path = join(folder, 'keyturn.db');
  await (await openDb({ dialect: 'sqlite', path })).close();
  const connection = new Database(path);
  const user = connection.prepare('INSERT INTO users (id, email, username, username_key, password_hash, roles, email_verified_at, password_changed_at, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)');
  const session = connection.prepare(`INSERT INTO sessions (id, user_id, token_hash, generation, window_started_at, window_generation, previous_generation, rotated_at,
     idle_expires_at, expires_at, revoked_at, revoked_reason, key_id, user_agent, ip, created_at, last_used_at)
    VALUES (?, ?, ?, 3, 1, 1, 0, 1, 2, ${Number.MAX_SAFE_INTEGER}, ?, ?, 'key', ?, '::1', 1, 1)`);
  connection.transaction(() => {
    for (let at = 0; at < users; at += 1) {
      const id = `${'aAzZ_-09'[at % 8]}${randomUUID()}`; // sorted differently by different collations
      const name = at % 3 === 0 ? `Ünï'code "${at}"\\ 🙂\n` : null;
      user.run(id, name ? null : `user${at}@example.com`, name, name, '$argon2id$x', at % 2 ? 'admin editor' : '', at % 5 ? null : at, Number.MAX_SAFE_INTEGER, at);
      for (const n of [0, 1]) session.run(`${id}${n}`, id, `hash${n}`, n ? null : at, n ? null : 'logout', n ? null : 'Agent "\u0001"');
    }
  })();
  connection.close();
  return { folder, path, url: `sqlite:${path}`, env: { DATA_DIR: folder, SECRET_KEY, DATABASE_URL: `sqlite:${path}` } };
}

const countIn = async (url: string, table: string) => Number((await query(url, `SELECT count(*) AS n FROM ${table}`)).rows[0]?.n);
const fileRows = (path: string) => {
  const connection = new Database(path, { readonly: true });
  const rows = ['users', 'sessions'].map((table) => connection.prepare(`SELECT * FROM ${table} ORDER BY id`).all());
  connection.close();
  return rows;
};

test('SQLite to PostgreSQL and back: no value changes, and the same cookie refreshes on each', async () => {
  const { folder, path, env } = await seededSqlite(300);
  const postgres = await emptyPostgres();
  const first = await startServer(env);
  const people = await Promise.all(Array.from({ length: 20 }, async (_each, at) => tokensIn(await first.post('/auth/register', { username: `person${at}`, password: PASSWORD }))));
  expect(await cliHere(['move', '--to', postgres], env)).toMatchObject({ code: 3 });
  await first.stop('SIGTERM');

  const there = await cli(['move', '--to', postgres, '--json'], env);
  expect(there).toMatchObject({ code: 0 });
  expect(JSON.parse(there.stdout)).toMatchObject({ ok: true, tables: expect.arrayContaining([expect.objectContaining({ table: 'users', rows: 320, copied: 320 }), expect.objectContaining({ table: 'sessions', rows: 620, copied: 620 })]) as unknown });
  const back = await cliHere(['move', '--to', `sqlite:${folder}/back.db`, '--json'], { ...env, DATABASE_URL: postgres });
  expect(back).toMatchObject({ code: 0 });
  expect(fileRows(join(folder, 'back.db'))).toEqual(fileRows(path));

  const second = await startServer({ ...env, DATABASE_URL: postgres });
  const refreshed = [];
  for (const { refresh_token, access_token } of people) {
    expect((await second.get('/users/me', access_token)).status).toBe(200);
    refreshed.push(await tokensIn(await second.post('/auth/refresh', { refresh_token })));
  }
  expect(await cliHere(['move', '--from', postgres, '--to', `sqlite:${folder}/third.db`], env)).toMatchObject({ code: 3, stderr: expect.stringContaining('in use') });
  expect(await cliHere(['move', '--from', postgres, '--to', `sqlite:${folder}/third.db`, '--live'], env)).toMatchObject({ code: 0 });
  await second.stop('SIGTERM');

  expect(await cliHere(['move', '--from', postgres, '--to', `sqlite:${folder}/home.db`], env)).toMatchObject({ code: 0 });
  const third = await startServer({ ...env, DATABASE_URL: `sqlite:${folder}/home.db` });
  for (const { refresh_token } of refreshed) expect((await third.post('/auth/refresh', { refresh_token })).status).toBe(200);
});

test.each(['there', 'back'])('a move that is killed in the middle continues when it is run again (%s)', async (way) => {
  const { folder, path, env } = await seededSqlite(10_000);
  const postgres = await emptyPostgres();
  if (way === 'back') expect(await cliHere(['move', '--to', postgres], env)).toMatchObject({ code: 0 });
  const to = way === 'there' ? postgres : `sqlite:${folder}/back.db`;
  const from = way === 'there' ? env.DATABASE_URL : postgres;
  const held = async () => (way === 'there' ? countIn(postgres, 'users').catch(() => 0) : walSize(`${folder}/back.db`));
  const { child, ended } = spawnCli(['move', '--to', to, '--from', from], env);
  while ((await held()) < (way === 'there' ? 1 : 500_000)) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill('SIGKILL');
  expect(await ended).toMatchObject({ code: null });
  await refuseHalfMoved({ ...env, DATABASE_URL: to });
  const again = await cliHere(['move', '--to', to, '--from', from, '--json'], env);
  expect(again).toMatchObject({ code: 0 });
  const { tables } = JSON.parse(again.stdout) as { tables: { table: string; rows: number; copied: number }[] };
  expect(Object.fromEntries(tables.map(({ table, rows }) => [table, rows]))).toMatchObject({ users: 10_000, sessions: 20_000 });
  const copied = tables.reduce((sum, table) => sum + table.copied, 0);
  expect(copied).toBeGreaterThan(0);
  expect(copied).toBeLessThan(30_000);
  if (way === 'back') expect(fileRows(`${folder}/back.db`)).toEqual(fileRows(path));
  const server = await startServer({ ...env, DATABASE_URL: to });
  expect((await server.get('/health/ready')).status).toBe(200);
});

/** A session that is not there yet would be refused as invalid, and the browser would sign out. */
async function refuseHalfMoved(env: Record<string, string>) {
  await expect(startServer(env)).rejects.toThrow(/Keyturn cannot start\. DATABASE_URL: .+ cannot be opened \(the database is half-moved: run keyturn move again, until it has finished\)$/m);
  const lines = join(temporaryFolder(), 'users.csv');
  writeFileSync(lines, 'email,password_hash\n');
  const commands = [['users', 'import', lines], ['move', '--live', '--to', `sqlite:${temporaryFolder()}/elsewhere.db`], ['backup', join(temporaryFolder(), 'copy.db')]];
  for (const args of env.DATABASE_URL!.startsWith('sqlite') ? commands : commands.slice(0, 2)) {
    expect(await cliHere(args, env)).toMatchObject({ code: 3, stderr: expect.stringContaining('half-moved') as string });
  }
}

/** Migrations alone leave a smaller log. */
function walSize(path: string): number {
  return statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
}

test('a target that holds what the source has not, or has changed, is refused and left alone', async () => {
  const { env } = await seededSqlite(10);
  const postgres = await emptyPostgres();
  expect(await cliHere(['move', '--to', postgres], env)).toMatchObject({ code: 0 });
  await query(postgres, "DELETE FROM sessions WHERE token_hash = 'hash1'; UPDATE users SET roles = 'changed' WHERE created_at = 1");
  const changed = await cliHere(['move', '--to', postgres], env);
  expect(changed).toMatchObject({ code: 3, stderr: expect.stringContaining('rows of users which the source has not') });
  expect(await countIn(postgres, 'sessions')).toBe(10);
  const other = await seededSqlite(3);
  expect(await cliHere(['move', '--to', postgres], other.env)).toMatchObject({ code: 3 });
});

test('rows that PostgreSQL changes on their way in are found by the checksum, and the table is named', async () => {
  const { env } = await seededSqlite(5);
  const postgres = await emptyPostgres();
  expect(await cliHere(['move', '--to', postgres], env)).toMatchObject({ code: 0 });
  await query(postgres, `DELETE FROM users; CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.ip := 'elsewhere'; RETURN NEW; END $$;
    CREATE TRIGGER spoil BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION spoil()`);
  expect(await cliHere(['move', '--to', postgres, '--json'], env)).toMatchObject({ code: 1, stderr: expect.stringContaining('sessions differs: the checksums') });
});

test('a database that is not Keyturn\'s, or that is not there, is a failure in one line without the password', async () => {
  const folder = temporaryFolder();
  const env = { DATA_DIR: folder, SECRET_KEY };
  const empty = await emptyPostgres();
  const { app } = await startApp({ ...env, DATABASE_URL: `sqlite:${folder}/keyturn.db` });
  await app.close();
  for (const args of [['--from', empty, '--to', `sqlite:${folder}/x.db`], ['--to', empty.replace('keyturn@', 'keyturn:pass-word@').replace(/\/move_/, '/none_')], ['--from', `sqlite:${folder}/none.db`, '--to', empty]]) {
    const { code, stderr } = await cliHere(['move', ...args], env);
    expect([code, stderr.trim().split('\n').length]).toEqual([1, 1]);
    expect(stderr).not.toContain('pass-word');
  }
});
