import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { startApp, temporaryFolder } from '../support/app.ts';
import { makeSecrets, readCompose } from '../support/compose.ts';
import { freePort } from '../support/postgres.ts';
import { describeWithRedis, startRedisWith } from '../support/redis.ts';

describeWithRedis('Redis of the compose file', () => {
  test('serves the copies, who have its password, and nobody else; it writes nothing to disk', async () => {
    const folder = temporaryFolder();
    makeSecrets(folder);
    const port = await freePort();
    await startRedisWith([join(folder, 'redis/redis.conf'), '--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder]);

    const stranger = new Redis(port, '127.0.0.1', { enableReadyCheck: false });
    onTestFinished(() => stranger.disconnect());
    await expect(stranger.set('key', 'value')).rejects.toThrow('NOAUTH');
    await expect(stranger.config('GET', 'requirepass')).rejects.toThrow('NOAUTH');

    const REDIS_URL = readFileSync(join(folder, 'api/redis_url'), 'utf8').replace('@redis:6379', `@127.0.0.1:${port}`);
    const { events, post } = await startApp({ RATE_LIMIT_ENABLED: 'true', REDIS_URL });
    expect((await post('/auth/login', { email: 'nobody@example.com', password: 'wrong' })).statusCode).toBe(401);
    expect(events().filter((event) => event?.startsWith('re') || event?.startsWith('rate'))).toEqual(['rate_limits_shared', 'request']);

    const client = new Redis(REDIS_URL);
    onTestFinished(() => client.disconnect());
    expect(await client.dbsize()).toBeGreaterThan(0);
    expect(await client.config('GET', 'save')).toEqual(['save', '']);
    expect(await client.config('GET', 'appendonly')).toEqual(['appendonly', 'no']);
    expect(await client.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'volatile-ttl']);
  });

  test('is healthy for the check of its container while it answers, and not without the password', async () => {
    const folder = temporaryFolder();
    makeSecrets(folder);
    const port = await freePort();
    await startRedisWith([join(folder, 'redis/redis.conf'), '--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder]);
    const [kind, command = ''] = readCompose().services.redis?.healthcheck?.test ?? [];
    const check = async (secrets: string) => {
      const child = spawn('sh', ['-c', command.replace('/secrets/', `${secrets}/`).replace('redis-cli', `redis-cli -p ${port}`)], { stdio: 'ignore' });
      return (await once(child, 'exit'))[0] as number;
    };
    expect(kind).toBe('CMD-SHELL');
    expect([await check(join(folder, 'redis')), await check(folder)]).toEqual([0, 1]);
  });
});
