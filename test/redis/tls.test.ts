import { expect, test } from 'vitest';
import { temporaryFolder } from '../support/app.ts';
import { makePem } from '../support/certificates.ts';
import { freePort } from '../support/postgres.ts';
import { describeWithRedis, startRedisWith } from '../support/redis.ts';
import { startServer } from '../support/server.ts';

const own = makePem('ec')!;
const foreign = makePem('ec', 'DNS:redis.example')!;

describeWithRedis('Redis by TLS', () => {
  test.each<[string, string, Record<string, string>, RegExp]>([
    ['with a certificate that is trusted is used', own, { NODE_EXTRA_CA_CERTS: own }, /"event":"rate_limits_shared"/],
    ['with a certificate that nobody trusts is not used, and each copy counts for itself', own, {}, /"event":"redis_lost".*certificate/i],
    ['with a trusted certificate of another name is not used', foreign, { NODE_EXTRA_CA_CERTS: foreign }, /"event":"redis_lost".*(certificate|altnames)/i],
  ])('%s (ASVS 12.3.2, 12.3.4)', async (_name, pem, env, expected) => {
    const port = await freePort();
    await startRedisWith(['--port', '0', '--tls-port', `${port}`, '--tls-cert-file', pem, '--tls-key-file', pem, '--tls-ca-cert-file', pem,
      '--tls-auth-clients', 'no', '--bind', '127.0.0.1', '--save', '', '--dir', temporaryFolder()]);
    const server = await startServer({ ...env, RATE_LIMIT_ENABLED: 'true', DATA_DIR: temporaryFolder(), REDIS_URL: `rediss://localhost:${port}` });
    await expect.poll(() => server.output()).toMatch(expected);
    expect((await server.post('/auth/login', { email: 'nobody@example.com', password: 'wrong' })).status).toBe(401);
  });
});
