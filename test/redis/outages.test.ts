import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { anyone, PASSWORD, temporaryFolder } from '../support/app.ts';
import { freePort } from '../support/postgres.ts';
import { describeWithRedis, type RedisServer, startRedis, undisturbed } from '../support/redis.ts';
import { type Server, startServer } from '../support/server.ts';

const LIMIT = 10;
const LIMITS = {
  RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: `${LIMIT}`, RATE_LIMIT_TOKENS_PER_MINUTE: '100000',
  HOST: '127.0.0.1', TRUST_PROXY: '127.0.0.1',
};
/** What a request may take without Redis. A busy machine gets as many times the slowest request of a copy without Redis. */
const LONGEST_WAIT_MS = 250;
const TIMES_THE_SLOWEST = 3;

async function startCopy(REDIS_URL: string) {
  const METRICS_PORT = `${await freePort()}`;
  const copy = await startServer({ ...LIMITS, DATA_DIR: temporaryFolder(), REDIS_URL, METRICS_PORT, METRICS_HOST: '127.0.0.1' });
  const lines = () => copy.output().split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as { event?: string; ms?: number; reason?: string });
  return {
    ...copy, lines,
    eventsAbout: (word: string) => lines().map(({ event }) => event).filter((event) => event?.includes(word)),
    metric: async (name: string) => {
      const text = await (await fetch(`http://127.0.0.1:${METRICS_PORT}/metrics`)).text();
      return Number(text.split('\n').find((line) => line.startsWith(`${name} `))?.split(' ')[1]);
    },
  };
}
type Copy = Awaited<ReturnType<typeof startCopy>>;

/** How many of so many sign-ins of an address, sent in turn to the copies, are let through. */
async function passed(times: number, copies: Server[], from: string): Promise<number> {
  let count = 0;
  for (let time = 0; time < times; time += 1) {
    const { status } = await copies[time % copies.length]!.post('/auth/login', { email: anyone(), password: PASSWORD }, { 'x-forwarded-for': from });
    if (status === 401) count += 1;
  }
  return count;
}

/** Refreshes without a pause, four at a time, until told to stop; yields how each was answered. */
function keepAsking(copy: Server) {
  const statuses: number[] = [];
  let going = true;
  const one = async () => { while (going) statuses.push(await copy.post('/auth/refresh').then(({ status }) => status, () => 0)); };
  const all = Promise.all([one(), one(), one(), one()]);
  return { stop: async () => { going = false; await all; return statuses; } };
}

const isBack = (copy: Copy, times = 1) => expect.poll(() => {
  const events = copy.eventsAbout('redis');
  return events.at(-1) === 'redis_back' && events.length >= 2 * times;
}).toBe(true);
const slowest = (copy: Copy) => Math.max(...copy.lines().map(({ ms = 0 }) => ms));

const OUTAGES: [string, (redis: RedisServer) => unknown, (redis: RedisServer) => unknown][] = [
  ['killed', (redis) => redis.kill(), (redis) => redis.start()],
  ['hanging', (redis) => redis.stop(), (redis) => redis.resume()],
  ['out of memory', (redis) => redis.command('CONFIG', 'SET', 'maxmemory', '1'), (redis) => redis.command('CONFIG', 'SET', 'maxmemory', '0')],
  ['read-only', (redis) => redis.command('REPLICAOF', '127.0.0.1', '1'), (redis) => redis.command('REPLICAOF', 'NO', 'ONE')],
];

describeWithRedis('while Redis is away', () => {
  test.each(OUTAGES)('%s in mid-traffic: no request fails or waits, each copy counts for itself, and the log and the metrics say so, until it is back', async (_name, breakIt, mendIt) => {
    const redis = await startRedis();
    const copies = [await startCopy(redis.url), await startCopy(redis.url)] as const;
    const [one, two] = copies;
    const control = await startCopy('');
    await undisturbed([...copies], async () => {
      await redis.command('FLUSHDB');
      expect(await passed(2 * LIMIT, [one], '192.0.2.1')).toBe(LIMIT);
    });
    const seen = copies.map((copy) => copy.eventsAbout('redis').length);
    const since = (index: number) => copies[index]!.eventsAbout('redis').slice(seen[index]);
    expect(await one.metric('keyturn_redis_up')).toBe(1);
    const traffics = [keepAsking(one), keepAsking(two), keepAsking(control)];
    await sleep(300);
    await breakIt(redis);
    await sleep(300);

    expect(await passed(3 * LIMIT, [one], '192.0.2.1')).toBe(0); // no fresh start
    expect(await passed(2 * LIMIT, [one], '192.0.2.2')).toBe(LIMIT);
    expect(await passed(2 * LIMIT, [two], '192.0.2.2')).toBe(LIMIT);
    await sleep(2000);
    for (const [index, copy] of copies.entries()) {
      await expect.poll(() => since(index)).toEqual(['redis_lost']);
      expect(await copy.metric('keyturn_redis_up')).toBe(0);
      expect(await copy.metric('keyturn_rate_limit_fallbacks_total')).toBeGreaterThan(2 * LIMIT);
    }

    await mendIt(redis);
    await Promise.all(copies.map((copy) => isBack(copy)));
    await undisturbed([...copies], async () => {
      await redis.command('FLUSHDB');
      expect(await passed(3 * LIMIT, [one, two], '192.0.2.3')).toBe(LIMIT);
    });
    for (const traffic of traffics) {
      const statuses = await traffic.stop();
      expect(statuses.length).toBeGreaterThan(100);
      expect(new Set(statuses)).toEqual(new Set([401]));
    }
    for (const [index, copy] of copies.entries()) {
      expect(since(index).join()).toMatch(/^redis_lost,redis_back(,redis_lost,redis_back)*$/);
      expect(await copy.metric('keyturn_redis_up')).toBe(1);
      expect(slowest(copy)).toBeLessThan(LONGEST_WAIT_MS + TIMES_THE_SLOWEST * slowest(control));
    }
  });

  test('from the start: the server starts and counts for itself, until Redis comes', async () => {
    const redis = await startRedis();
    await redis.kill();
    const copy = await startCopy(redis.url);
    expect(copy.eventsAbout('redis')).toEqual(['redis_lost']);
    expect(await passed(2 * LIMIT, [copy], '192.0.2.1')).toBe(LIMIT);
    await redis.start();
    await isBack(copy);
    await undisturbed([copy], async () => {
      await redis.command('FLUSHDB');
      expect(await passed(2 * LIMIT, [copy], '192.0.2.2')).toBe(LIMIT);
    });
    expect(copy.eventsAbout('redis').slice(0, 2)).toEqual(['redis_lost', 'redis_back']);
  });

  test('killed and started five times: each time both are said once, and it counts for all again', async () => {
    const redis = await startRedis();
    const copies = [await startCopy(redis.url), await startCopy(redis.url)] as const;
    for (let time = 1; time <= 5; time += 1) {
      await redis.kill();
      expect(await passed(1, [...copies], `192.0.2.${time}`)).toBe(1);
      await redis.start();
      await Promise.all(copies.map((copy) => isBack(copy, time)));
      await undisturbed([...copies], async () => {
        await redis.command('FLUSHDB');
        expect(await passed(3 * LIMIT, [...copies], `198.51.100.${time}`)).toBe(LIMIT);
      });
    }
    for (const copy of copies) expect(copy.eventsAbout('redis').join()).toMatch(/^redis_lost,redis_back(,redis_lost,redis_back){4,}$/);
  });

  test('back with another password: it stays away, and no password is logged; with the right one it is back soon, however long it took', async () => {
    const redis = await startRedis();
    const copy = await startCopy(redis.url);
    await redis.kill();
    await redis.start('another password');
    await sleep(6500);
    expect(await passed(2 * LIMIT, [copy], '192.0.2.1')).toBe(LIMIT);
    expect(copy.eventsAbout('redis')).toEqual(['redis_lost']);
    await redis.kill();
    await redis.start();
    await isBack(copy);
    expect(copy.output()).not.toMatch(/a password of Redis|a%20password|another password/);
  });

  test.each(OUTAGES.slice(0, 2))('%s: the server still stops at once', async (_name, breakIt) => {
    const redis = await startRedis();
    const copy = await startCopy(redis.url);
    await breakIt(redis);
    await passed(1, [copy], '192.0.2.1');
    const before = performance.now();
    expect(await copy.stop('SIGTERM')).toBe(0);
    expect(performance.now() - before).toBeLessThan(15_000); // Redis would be waited for without end
    expect(copy.eventsAbout('redis_back')).toEqual([]);
  });
});
