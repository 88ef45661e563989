import { tmpdir } from 'node:os';
import { expect, onTestFinished, test } from 'vitest';
import { startApp } from '../support/app.ts';
import { makePem } from '../support/certificates.ts';
import { freePort, query, startCluster } from '../support/postgres.ts';
import { startRedisWith } from '../support/redis.ts';

const SECRET_KEY = 'YSBrZXkgZm9yIHRlc3RzIG9uIFBvc3RncmVTUUwgb25seQ';
const OWN_PEM = makePem('ec')!;
const OTHER_PEM = makePem('ec')!;
const PEM_OF_ANOTHER_NAME = makePem('ec', 'DNS:elsewhere.example')!;

/** A PostgreSQL that takes TLS alone. */
async function startEncrypted(pem: string) {
  const cluster = await startCluster({ pem, access: ['hostnossl keyturn all 127.0.0.1/32 reject'] });
  onTestFinished(() => cluster.stop());
  await query(cluster.url('postgres'), 'CREATE DATABASE keyturn');
  const start = (authority: string) => startApp({ SECRET_KEY, DATABASE_URL: `${cluster.url('keyturn')}?sslmode=verify-full&sslrootcert=${authority}` });
  return { cluster, start };
}

test('PostgreSQL with a certificate of its own authority is spoken to by TLS; one of another authority or name is refused', async () => {
  const { cluster, start } = await startEncrypted(OWN_PEM);
  const { register, get } = await start(OWN_PEM);
  await register();
  expect((await get('/health/ready')).statusCode).toBe(200);
  const { rows } = await query(cluster.url('postgres'), "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'keyturn'");
  expect(rows).toEqual([{ ssl: true }]);
  await expect(start(OTHER_PEM)).rejects.toThrow(/^DATABASE_URL: .* cannot be opened \(.*certificate.*\)$/);
  const other = await startEncrypted(PEM_OF_ANOTHER_NAME);
  await expect(other.start(PEM_OF_ANOTHER_NAME)).rejects.toThrow(/^DATABASE_URL: .* cannot be opened \(Hostname\/IP does not match certificate's altnames/);
});

/** A Redis that takes TLS alone. */
async function startEncryptedRedis(pem: string): Promise<string> {
  const port = await freePort();
  await startRedisWith([
    '--port', '0', '--tls-port', `${port}`, '--bind', '127.0.0.1', '--tls-cert-file', pem, '--tls-key-file', pem, '--tls-ca-cert-file', pem,
    '--tls-auth-clients', 'no', '--save', '', '--appendonly', 'no', '--dir', tmpdir(),
  ]);
  return `rediss://127.0.0.1:${port}`;
}

test('Redis with a certificate of the authority in TLS_CA is spoken to by TLS; one of another authority or name is not', async () => {
  const eventsWith = async (REDIS_URL: string, TLS_CA: string) => (await startApp({ RATE_LIMIT_ENABLED: 'true', REDIS_URL, TLS_CA })).events();
  const redis = await startEncryptedRedis(OWN_PEM);
  expect(await eventsWith(redis, OWN_PEM)).not.toContain('redis_lost');
  for (const authority of [OTHER_PEM, '']) expect(await eventsWith(redis, authority)).toContain('redis_lost');
  expect(await eventsWith(await startEncryptedRedis(PEM_OF_ANOTHER_NAME), PEM_OF_ANOTHER_NAME)).toContain('redis_lost');
});
