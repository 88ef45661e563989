import { inject } from 'vitest';
import { expect, test } from 'vitest';
import { parseRefreshToken } from '../../src/core/refresh-tokens.ts';
import { openStore } from '../../src/store/store.ts';
import { databaseFor, PASSWORD, temporaryFolder } from '../support/app.ts';
import { query } from '../support/postgres.ts';
import { type Server, startServer, tokensIn } from '../support/server.ts';

const ROUNDS = 200;
const AT_ONCE = 20;

async function startCopies(count: number) {
  const folder = temporaryFolder();
  const database = await databaseFor(folder);
  const copies = await Promise.all(Array.from({ length: count }, () => startServer({ DATA_DIR: folder, ...database })));
  return { copies: copies as [Server, Server, Server], url: database.DATABASE_URL! };
}

test('ten copies that start together on an empty database migrate it once, and all serve', async () => {
  const { copies, url } = await startCopies(10);
  const { rows } = await query(url, 'SELECT count(*)::int AS count, count(DISTINCT hash)::int AS once FROM keyturn_migrations');
  expect(rows[0]!.count).toBe(rows[0]!.once);
  for (const copy of copies) expect((await copy.get('/health/ready')).status).toBe(200);
});

test(`${AT_ONCE} refreshes at once across three copies, ${ROUNDS} rounds: every answer is 200 with the same new token, by one rotation a round`, async () => {
  const { copies, url } = await startCopies(3);
  let { refresh_token: current } = await tokensIn(await copies[0].post('/auth/register', { username: 'john', password: PASSWORD }));
  for (let round = 1; round <= ROUNDS; round += 1) {
    const answers = await Promise.all(Array.from({ length: AT_ONCE }, async (_, index) =>
      tokensIn(await copies[index % 3]!.post('/auth/refresh', { refresh_token: current }))));
    const children = new Set(answers.map(({ refresh_token }) => refresh_token));
    expect(children.size).toBe(1);
    [current] = children as unknown as [string];
    expect(parseRefreshToken(current)!.generation).toBe(round);
  }
  const store = await openStore({ dialect: 'postgres', url, poolSize: 1, timeoutMs: 1500 });
  expect((await store.sessions.find(parseRefreshToken(current)!.sessionId))?.session).toMatchObject({ generation: ROUNDS, revokedAt: null });
  await store.close();
});

test('a sign-out on one copy is in force on the others at the next request, and one that races refreshes leaves nothing alive', async () => {
  const { copies } = await startCopies(3);
  const [one, two, three] = copies;
  await one.post('/auth/register', { username: 'john', password: PASSWORD });
  for (let round = 0; round < 50; round += 1) {
    const { refresh_token, access_token } = await tokensIn(await one.post('/auth/login', { username: 'john', password: PASSWORD }));
    expect((await two.get('/users/me', access_token)).status).toBe(200);
    const racing = [two, three, two, three].map((copy) => copy.post('/auth/refresh', { refresh_token }));
    expect((await one.post('/auth/logout', { refresh_token })).status).toBe(200);
    for (const copy of [two, three]) expect((await copy.get('/users/me', access_token)).status).toBe(401);
    for (const answer of await Promise.all(racing)) {
      if (answer.ok) expect((await three.get('/users/me', (await tokensIn(answer)).access_token)).status).toBe(401);
    }
    expect((await two.post('/auth/refresh', { refresh_token })).status).toBe(401);
  }
});

test('a wrong address is refused at start, without the password in the message', async () => {
  const refused = startServer({ DATA_DIR: temporaryFolder(), DATABASE_URL: `${inject('postgres')!.replace('keyturn@', 'nobody:hunter2hunter2@')}/none` });
  await expect(refused).rejects.toThrow(/Keyturn cannot start. DATABASE_URL: postgres:\/\/127.0.0.1:\d+\/none cannot be opened/);
  await expect(refused).rejects.not.toThrow(/hunter2/);
});
