import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { buildApp } from '../../src/app.ts';
import { loadConfig } from '../../src/config.ts';
import { startApp, temporaryFolder, TEST_ENVIRONMENT } from '../support/app.ts';
import { freePort } from '../support/postgres.ts';
import { describeWithRedis, startRedis } from '../support/redis.ts';

const load = (env: Record<string, string>) => loadConfig({ ...TEST_ENVIRONMENT, DATA_DIR: temporaryFolder(), ...env });

describe('REDIS_URL', () => {
  test.each([
    'redis', 'localhost:6379', 'http://localhost:6379', 'redis://', 'redis:///0', 'redis://host/one', 'redis://host/0/1', 'redis://host/-1', 'redis://host:99999', 'redis://host:port',
    'redis://host?enableOfflineQueue=true', 'redis://host/0?family=6', 'redis://host/0#x', 'unix:///run/redis.sock', 'redis://one,redis://two', 'redis://:hunter2@ho st',
  ])('%s is refused by name, without its value', (REDIS_URL) => {
    expect(() => load({ REDIS_URL })).toThrow(/^REDIS_URL: must look like redis:\/\/user:password@host:6379\/0, or begin with rediss:\/\/ for TLS$/);
  });

  test.each([
    ['redis://cache', { host: 'cache', port: 6379, db: 0, tls: false, username: '', password: '' }],
    ['rediss://cache.example.com:6380/2', { host: 'cache.example.com', port: 6380, db: 2, tls: true, username: '', password: '' }],
    ['redis://:p%40ss%2Fw%3F@[::1]/', { host: '::1', port: 6379, db: 0, tls: false, username: '', password: 'p@ss/w?' }],
    ['redis://keyturn:100%25%zz@10.0.0.7/15', { host: '10.0.0.7', port: 6379, db: 15, tls: false, username: 'keyturn', password: '100%%zz' }],
  ])('%s is understood', (REDIS_URL, redis) => {
    expect(load({ REDIS_URL, PLAINTEXT_HOSTS: 'cache, 10.0.0.7' }).redis).toEqual(redis);
  });

  test('may come from a file', () => {
    const path = join(temporaryFolder(), 'redis-url');
    writeFileSync(path, 'redis://cache/3\n');
    expect(load({ REDIS_URL_FILE: path, PLAINTEXT_HOSTS: 'cache' }).redis).toMatchObject({ host: 'cache', db: 3 });
    expect(load({}).redis).toBeNull();
  });
});

test('without it the log says once that each copy counts for itself: worth a warning only where there may be several', async () => {
  const { logLines } = await startApp({ RATE_LIMIT_ENABLED: 'true' });
  const said = (lines: string[]) => lines.map((line) => JSON.parse(line) as { event?: string; level: number }).filter(({ event }) => event === 'rate_limits_local').map(({ level }) => level);
  expect(said(logLines)).toEqual([30]);
  const lines: string[] = [];
  const config = load({ RATE_LIMIT_ENABLED: 'true', DATABASE_URL: `postgres://127.0.0.1:${await freePort()}/none`, SECRET_KEY: 'aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA' });
  await expect(buildApp(config, { logTo: { write: (line) => void lines.push(line) } })).rejects.toThrow(/^DATABASE_URL/);
  expect(said(lines)).toEqual([40]);
});

describeWithRedis('a Redis that will not have us', () => {
  test('for a wrong password, none, or a database it does not have, is refused at start by the name of the variable', async () => {
    const redis = await startRedis();
    const lines: string[] = [];
    const start = (REDIS_URL: string) => buildApp(load({ RATE_LIMIT_ENABLED: 'true', REDIS_URL }), { logTo: { write: (line) => void lines.push(line) } });
    await expect(start(`redis://:hunter2hunter2@127.0.0.1:${redis.port}`)).rejects.toThrow(/^REDIS_URL: Redis refuses it \(WRONGPASS (?!.*hunter2).*\)$/);
    await expect(start(`redis://127.0.0.1:${redis.port}`)).rejects.toThrow(/^REDIS_URL: Redis refuses it \(.*NOAUTH/);
    await expect(start(redis.url.replace(/1$/, '99'))).rejects.toThrow(/^REDIS_URL: Redis refuses it \(ERR DB index/);
    expect(lines).toHaveLength(3);
    expect(lines.join('')).not.toContain('hunter2');
  });
});

describeWithRedis('the connection', () => {
  const run = promisify(execFile);
  const script = (url: string) => `
    const { loadConfig } = await import('./src/config.ts');
    const { openRedis } = await import('./src/plugins/redis.ts');
    const { redis } = loadConfig({ DATA_DIR: ${JSON.stringify(temporaryFolder())}, REDIS_URL: ${JSON.stringify(url)} });
    const link = openRedis(redis, { probe: (client, answer) => client.ping(answer), onUp() {}, onDown() {} });
    console.log((await link.first)?.message ?? 'up');`;
  const start = (url: string) => run(process.execPath, ['--input-type=module', '-e', script(url)], { timeout: 60_000 });

  test('keeps no process alive: when Redis is there, not there, or hangs', async () => {
    const redis = await startRedis();
    expect((await start(redis.url)).stdout).toBe('up\n');
    expect((await start(`redis://127.0.0.1:${await freePort()}`)).stdout).toMatch(/ECONNREFUSED/);
    redis.stop();
    expect((await start(redis.url)).stdout).toMatch(/timed out|no answer|closed/);
  });

  test('is closed with the app', async () => {
    const redis = await startRedis();
    const app = await buildApp(load({ RATE_LIMIT_ENABLED: 'true', REDIS_URL: redis.url, LOG_LEVEL: 'silent' }));
    const count = async () => String(await redis.command('CLIENT', 'LIST')).trim().split('\n').length;
    expect(await count()).toBe(2);
    await app.close();
    await expect.poll(count).toBe(1);
  });
});
