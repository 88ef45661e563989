import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { expect, inject, onTestFinished, test } from 'vitest';
import { databaseFor, PASSWORD, temporaryFolder } from '../support/app.ts';
import { freePort } from '../support/postgres.ts';
import { startServer, tokensIn } from '../support/server.ts';

const hasPgBouncer = (() => {
  try {
    execFileSync('pgbouncer', ['--version'], { env: { PATH: `${process.env.PATH}:/usr/sbin` }, stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

/** A real PgBouncer in transaction mode before the test's server, with fewer server connections than the clients have. */
async function startPgBouncer(): Promise<number> {
  const folder = temporaryFolder();
  const port = await freePort();
  const server = new URL(inject('postgres')!);
  const path = join(folder, 'pgbouncer.ini');
  writeFileSync(path, [
    '[databases]', `* = host=127.0.0.1 port=${server.port} user=keyturn`, '[pgbouncer]', `listen_port=${port}`, 'listen_addr=127.0.0.1', 'unix_socket_dir=',
    'auth_type=any', 'pool_mode=transaction', 'default_pool_size=2', 'max_client_conn=100', '',
  ].join('\n'));
  chmodSync(folder, 0o755);
  const user = process.getuid?.() === 0 ? ['-u', 'postgres'] : [];
  const child = spawn('pgbouncer', [...user, path], { env: { PATH: `${process.env.PATH}:/usr/sbin` }, stdio: 'ignore' });
  onTestFinished(() => void child.kill('SIGKILL'));
  for (let time = 0; time < 100; time += 1) {
    const open = await new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); }).on('error', () => resolve(false));
    });
    if (open) return port;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('PgBouncer does not listen');
}

test.skipIf(!hasPgBouncer)(`two copies work through PgBouncer in transaction mode${hasPgBouncer ? '' : ' (skipped: there is no pgbouncer)'}`, async () => {
  const folder = temporaryFolder();
  const database = await databaseFor(folder);
  const behind = new URL(database.DATABASE_URL!);
  behind.port = String(await startPgBouncer());
  const copies = await Promise.all([1, 2].map(() => startServer({ DATA_DIR: folder, ...database, DATABASE_URL: behind.href })));
  const registered = await Promise.all(Array.from({ length: 20 }, (_, index) => copies[index % 2]!.post('/auth/register', { username: `user${index}`, password: PASSWORD })));
  expect(registered.map(({ status }) => status)).toEqual(Array(20).fill(201));
  let { refresh_token: current } = await tokensIn(await copies[0]!.post('/auth/login', { username: 'user1', password: PASSWORD }));
  for (let round = 0; round < 20; round += 1) {
    const answers = await Promise.all(Array.from({ length: 20 }, async (_, index) => tokensIn(await copies[index % 2]!.post('/auth/refresh', { refresh_token: current }))));
    expect(new Set(answers.map(({ refresh_token }) => refresh_token)).size).toBe(1);
    current = answers[0]!.refresh_token;
  }
  expect((await copies[1]!.post('/auth/logout', { refresh_token: current })).status).toBe(200);
  expect((await copies[0]!.post('/auth/refresh', { refresh_token: current })).status).toBe(401);
});
