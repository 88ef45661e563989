import { afterAll, beforeAll, expect, test } from 'vitest';
import { anyone, PASSWORD, temporaryFolder } from '../support/app.ts';
import { describeWithRedis, type RedisServer, startRedis, undisturbed } from '../support/redis.ts';
import { type Server, startServer } from '../support/server.ts';

const LIMIT = 20;
const LIMITS = { RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: `${LIMIT}`, HOST: '127.0.0.1', TRUST_PROXY: '127.0.0.1' };

const login = async (copy: Server, from: string, path = '/auth/login') =>
  (await copy.post(path, { email: anyone(), password: PASSWORD }, { 'x-forwarded-for': from })).status;

describeWithRedis('three copies, in processes of their own, with nothing in common but Redis,', () => {
  let redis: RedisServer;
  let copies: [Server, Server, Server];
  const ends: (() => unknown)[] = [];
  const atEnd = (end: () => unknown) => void ends.unshift(end);
  beforeAll(async () => {
    redis = await startRedis(atEnd);
    const start = () => startServer({ ...LIMITS, DATA_DIR: temporaryFolder(atEnd), REDIS_URL: redis.url }, atEnd);
    copies = await Promise.all([start(), start(), start()]);
  });
  afterAll(async () => { for (const end of ends) await end(); });

  const shared = (name: string, run: () => Promise<void>) => test(name, () => undisturbed(copies, async () => {
    await redis.command('FLUSHDB');
    await run();
  }));

  shared(`let exactly ${LIMIT} of ${3 * LIMIT} racing sign-ins of one address through, at whichever of them they arrive`, async () => {
    for (let round = 1; round <= 5; round += 1) {
      const statuses = await Promise.all(Array.from({ length: 3 * LIMIT }, (_, index) => login(copies[index % 3]!, `192.0.2.${round}`)));
      expect(statuses.filter((status) => status === 401)).toHaveLength(LIMIT);
      expect(statuses.filter((status) => status === 429)).toHaveLength(2 * LIMIT);
    }
  });

  shared('count the other paths of a route with it, and other addresses and routes apart', async () => {
    const paths = ['/auth/login', '/auth/login/', '/login', '/login/', '/api/login', '/api/login/'];
    for (let time = 0; time < LIMIT; time += 1) expect(await login(copies[time % 3]!, '192.0.2.1', paths[time % paths.length])).toBe(401);
    for (const copy of copies) {
      for (const path of paths) expect(await login(copy, '192.0.2.1', path)).toBe(429);
      expect(await login(copy, '192.0.2.2')).toBe(401);
      expect((await copy.post('/auth/refresh', undefined, { 'x-forwarded-for': '192.0.2.1' })).status).toBe(401);
    }
  });

  shared('agree on what is left and when to come back', async () => {
    for (const [index, copy] of copies.entries()) {
      const { headers } = await copy.post('/auth/login', { email: anyone(), password: PASSWORD });
      expect(headers.get('ratelimit-remaining')).toBe(`${LIMIT - 1 - index}`);
      expect(Number(headers.get('ratelimit-reset'))).toSatisfy((seconds: number) => seconds > 30 && seconds <= 60);
    }
  });

  shared('keep nothing in Redis but routes and addresses (IPv6: their /64), for a minute', async () => {
    const [one] = copies;
    for (const from of ['192.0.2.1', '2001:db8::1', '2001:db8::2']) await login(one, from);
    await one.post('/auth/refresh', { refresh_token: 'rt1.a-secret' }, { 'x-forwarded-for': '192.0.2.1' });
    await fetch(`${one.url}/auth/sessions/some-id?secret=1`, { method: 'DELETE', headers: { 'x-forwarded-for': '192.0.2.1' } });
    await fetch(`${one.url}/nowhere?secret=1`, { headers: { 'x-forwarded-for': '192.0.2.1' } });
    const keys = (await redis.command('KEYS', '*')) as string[];
    expect(keys.filter((key) => !key.endsWith(':probe')).sort()).toEqual([
      'keyturn:limit:192.0.2.1', 'keyturn:limit:DELETE/auth/sessions/:id-192.0.2.1', 'keyturn:limit:POST/auth/login-192.0.2.1',
      'keyturn:limit:POST/auth/login-2001:db8::', 'keyturn:limit:POST/auth/refresh-192.0.2.1',
    ]);
    for (const key of keys.filter((each) => !each.endsWith(':probe'))) {
      expect(await redis.command('PTTL', key)).toSatisfy((ms: number) => ms > 30_000 && ms <= 60_000);
      expect(await redis.command('GET', key)).toMatch(/^[12]$/);
    }
  });
});
