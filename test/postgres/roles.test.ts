import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PASSWORD, startApp, temporaryFolder } from '../support/app.ts';
import { readCompose } from '../support/compose.ts';
import { type Cluster, query, startCluster } from '../support/postgres.ts';

const SECRET_KEY = 'YSBrZXkgZm9yIHRlc3RzIG9uIFBvc3RncmVTUUwgb25seQ';
const PASSWORDS = { owner: 'the-password-of-the-owner', server: "the password of the server's role" };

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster();
  const folder = temporaryFolder((remove) => afterAll(remove));
  writeFileSync(join(folder, 'owner_password'), `${PASSWORDS.owner}\n`);
  writeFileSync(join(folder, 'server_password'), PASSWORDS.server);
  await query(cluster.url('postgres'), 'CREATE DATABASE pristine');
  const script = readCompose().configs.roles!.content.replaceAll('$$', '$').replaceAll('/secrets/', `${folder}/`);
  execFileSync('bash', ['--norc', '-euo', 'pipefail', '-c', script], {
    env: { PATH: process.env.PATH, PGHOST: '127.0.0.1', PGPORT: String(cluster.port), POSTGRES_USER: 'keyturn', POSTGRES_DB: 'pristine' },
    stdio: 'pipe',
  });
});
afterAll(() => cluster.stop());

const urlFor = (role: 'owner' | 'server', name: string) =>
  `postgres://keyturn_${role}:${encodeURIComponent(PASSWORDS[role])}@127.0.0.1:${cluster.port}/${name}`;

/** A database as the compose file's own script prepared it, without tables. */
async function prepareDatabase(name: string) {
  await query(cluster.url('postgres'), `CREATE DATABASE ${name} TEMPLATE pristine`);
  return { owner: urlFor('owner', name), server: urlFor('server', name) };
}

async function stateOf(url: string, statement: string): Promise<string | undefined> {
  return query(url, statement).then(() => 'done', (error: unknown) => (error instanceof pg.DatabaseError ? error.code : String(error)));
}

test('the server’s role serves every request, and can change no table, role or database', async () => {
  const { owner, server } = await prepareDatabase('served');
  const { app, register, refresh, post, request } = await startApp({ SECRET_KEY, DATABASE_URL: server, MIGRATION_DATABASE_URL: owner });
  const { accessToken, refreshToken } = await register();
  const headers = { authorization: `Bearer ${accessToken}` };
  expect((await refresh(refreshToken)).statusCode).toBe(200);
  expect((await post('/auth/login', { email: 'john@example.com', password: 'wrong' })).statusCode).toBe(401);
  expect((await post('/auth/forgot-password', { email: 'john@example.com' })).statusCode).toBe(200);
  expect((await post('/auth/logout?scope=others', undefined, headers)).statusCode).toBe(200);
  expect((await request({ method: 'DELETE', url: '/users/me', headers, payload: { password: PASSWORD } })).statusCode).toBe(204);
  await app.close();

  const denied = [
    'CREATE TABLE mine (id int)', 'ALTER TABLE users ADD COLUMN mine int', 'DROP TABLE sessions', 'TRUNCATE users', 'CREATE INDEX ON users (id)',
    'CREATE SCHEMA mine', 'CREATE ROLE mine', 'CREATE DATABASE mine', 'ALTER ROLE keyturn_server CREATEROLE', 'GRANT ALL ON users TO PUBLIC',
    'COPY users TO \'/tmp/users\'', 'SELECT pg_read_file(\'/etc/passwd\')', 'SELECT rolpassword FROM pg_authid',
  ];
  for (const statement of denied) {
    // a GRANT without the right to grant is a warning and grants nothing; see below
    if (statement.startsWith('GRANT')) await stateOf(server, statement);
    else expect([statement, await stateOf(server, statement)]).toEqual([statement, '42501']);
  }
  const { rows } = await query(cluster.url('served'), "SELECT grantee FROM information_schema.role_table_grants WHERE table_name = 'users' AND grantee NOT LIKE 'keyturn_%'");
  expect(rows).toEqual([]);
});

test('only the two roles may connect to the database', async () => {
  await query(cluster.url('postgres'), 'CREATE ROLE stranger LOGIN');
  expect(await stateOf(cluster.url('pristine').replace('keyturn@', 'stranger@'), 'SELECT 1')).toBe('42501');
  expect(await Promise.all([stateOf(urlFor('owner', 'pristine'), 'SELECT 1'), stateOf(urlFor('server', 'pristine'), 'SELECT 1')])).toEqual(['done', 'done']);
});

test('where no migration is missing, the server starts with the rights of its own role alone', async () => {
  const { owner, server } = await prepareDatabase('restarted');
  await (await startApp({ SECRET_KEY, DATABASE_URL: server, MIGRATION_DATABASE_URL: owner })).app.close();
  const { register } = await startApp({ SECRET_KEY, DATABASE_URL: server });
  expect((await register()).accessToken).toBeTruthy();
});

test('where one is missing and the role may not apply it, the start fails, says so, and changes nothing', async () => {
  const { owner, server } = await prepareDatabase('denied');
  await expect(startApp({ SECRET_KEY, DATABASE_URL: server })).rejects.toThrow(/permission denied for schema public/);
  expect((await query(owner, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'")).rows).toEqual([]);
});
