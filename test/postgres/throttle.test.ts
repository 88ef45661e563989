import { expect, test } from 'vitest';
import { databaseFor, PASSWORD, temporaryFolder } from '../support/app.ts';
import { query } from '../support/postgres.ts';
import { type Server, startServer } from '../support/server.ts';

const JOHN = { email: 'john@example.com' };
let lastAddress = 0;
/** As a proxy passes on what came from an address that was not seen before. */
const attempt = (copy: Server, password: string, headers: Record<string, string> = {}) => {
  lastAddress += 1;
  return copy.post('/auth/login', { ...JOHN, password }, { 'x-forwarded-for': `10.9.${lastAddress >> 8}.${lastAddress & 255}`, ...headers });
};
const countOf = (statuses: number[], status: number) => statuses.filter((each) => each === status).length;

test('a thousand wrong passwords for one account, from a thousand addresses through three copies: few are verified, all of them counted, and the owner signs in on a known device', async () => {
  const folder = temporaryFolder();
  const database = await databaseFor(folder);
  const env = { DATA_DIR: folder, ...database, RATE_LIMIT_ENABLED: 'true', TRUST_PROXY: '127.0.0.1' };
  const copies = await Promise.all([1, 2, 3].map(() => startServer(env)));
  const registered = await copies[0]!.post('/auth/register', { ...JOHN, password: PASSWORD }, { 'x-forwarded-for': '192.0.2.7' });
  const [device] = /device=[^;]+/.exec(registered.headers.getSetCookie().join('\n'))!;
  const guesses = Array.from({ length: 1000 }, async (_, index) => (await attempt(copies[index % 3]!, 'a wrong guess')).status);
  const owners = await Promise.all(copies.map(async (copy) => (await attempt(copy, PASSWORD, { cookie: device })).status));
  const statuses = await Promise.all(guesses);
  expect(owners).toEqual([200, 200, 200]);
  expect(countOf(statuses, 401) + countOf(statuses, 429)).toBe(1000);
  expect(countOf(statuses, 401)).toBeGreaterThanOrEqual(5);
  expect(countOf(statuses, 401)).toBeLessThan(20);
  const { rows } = await query(database.DATABASE_URL!, 'SELECT count::int AS count FROM throttles ORDER BY count DESC LIMIT 1');
  expect(rows[0]!.count).toBe(countOf(statuses, 401));
  for (const copy of copies) expect((await attempt(copy, PASSWORD, { cookie: device })).status).toBe(200);
});

test('what one copy counted holds on another, and what it forgot is forgotten there', async () => {
  const folder = temporaryFolder();
  const env = { DATA_DIR: folder, ...(await databaseFor(folder)), RATE_LIMIT_ENABLED: 'true', TRUST_PROXY: '127.0.0.1', LOGIN_ATTEMPTS_LIMIT: '5' };
  const [one, two] = await Promise.all([startServer(env), startServer(env)]);
  await one.post('/auth/register', { ...JOHN, password: PASSWORD });
  for (let time = 0; time < 2; time += 1) for (const copy of [one, two]) expect((await attempt(copy, 'a wrong guess')).status).toBe(401);
  expect((await attempt(two, PASSWORD)).status).toBe(200);
  for (const copy of [one, two, one, two, one]) expect((await attempt(copy, 'a wrong guess')).status).toBe(401);
  for (const copy of [one, two]) {
    const answer = await attempt(copy, PASSWORD);
    expect(answer.status).toBe(429);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(29 * 86_400);
  }
});
