import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startApp, temporaryFolder } from '../support/app.ts';
import { makePem } from '../support/certificates.ts';
import { type Cluster, query, startCluster } from '../support/postgres.ts';

const SECRET_KEY = 'YSBrZXkgZm9yIHRlc3RzIG9uIFBvc3RncmVTUUwgb25seQ';
const own = makePem('ec')!;
const foreign = makePem('ec', 'DNS:database.example')!;

let cluster: Cluster;
let folder: string;
beforeAll(async () => {
  cluster = await startCluster();
  folder = temporaryFolder((remove) => afterAll(remove));
  chmodSync(folder, 0o755);
});
afterAll(() => cluster.stop());

/** From now on PostgreSQL offers TLS, with this certificate. */
async function show(pem: string) {
  const file = join(folder, 'shown.pem');
  copyFileSync(pem, file);
  chmodSync(file, 0o600);
  if (process.getuid?.() === 0) {
    const [, , uid, gid] = execFileSync('getent', ['passwd', 'postgres']).toString().split(':');
    chownSync(file, Number(uid), Number(gid));
  }
  for (const setting of [`ssl_cert_file = '${file}'`, `ssl_key_file = '${file}'`, 'ssl = on']) await query(cluster.url('postgres'), `ALTER SYSTEM SET ${setting}`);
  await query(cluster.url('postgres'), 'SELECT pg_reload_conf()');
  await expect.poll(async () => (await query(cluster.url('postgres'), 'SHOW ssl')).rows).toEqual([{ ssl: 'on' }]);
}

const urlWith = (options: string) => cluster.url('postgres').replace('127.0.0.1', 'localhost') + options;
const start = (options: string) => startApp({ SECRET_KEY, DATABASE_URL: urlWith(options) });

test('sslmode=verify-full with a trusted certificate serves over TLS alone (ASVS 12.3.2, 12.3.4)', async () => {
  await show(own);
  const { register } = await start(`?sslmode=verify-full&sslrootcert=${own}`);
  expect((await register()).accessToken).toBeTruthy();
  const { rows } = await query(cluster.url('postgres'), `SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'keyturn'`);
  expect(rows).toEqual([{ ssl: true }]);
});

test('a certificate that nobody trusts, or of another name, is refused', async () => {
  await show(own);
  await expect(start('?sslmode=verify-full')).rejects.toThrow(/self-signed certificate/);
  await expect(start(`?sslmode=verify-full&sslrootcert=${foreign}`)).rejects.toThrow(/certificate/);
  await show(foreign);
  await expect.poll(async () => start(`?sslmode=verify-full&sslrootcert=${foreign}`).catch((error: unknown) => String(error))).toMatch(/does not match certificate/);
});
