import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { expect, test } from 'vitest';
import { PASSWORD, temporaryFolder } from '../support/app.ts';
import { type Server, startServer, type Tokens, tokensIn } from '../support/server.ts';

const CLIENTS = 8;
const REFRESHES_A_ROUND = 100;

/** Signs in, refreshes again and again, signs out, and so on until the server is gone; tells what was answered last. */
async function live(server: Server, onRefresh: () => void) {
  const answered = { current: undefined as Tokens | undefined, ended: [] as Tokens[] };
  try {
    for (;;) {
      let tokens = await tokensIn(await server.post('/auth/login', { username: 'john', password: PASSWORD }));
      answered.current = tokens;
      for (let time = 0; time < 10; time += 1) {
        tokens = await tokensIn(await server.post('/auth/refresh', { refresh_token: tokens.refresh_token }));
        answered.current = tokens;
        onRefresh();
      }
      answered.current = undefined;
      if ((await server.post('/auth/logout', { refresh_token: tokens.refresh_token })).ok) answered.ended.push(tokens);
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // fetch's way to say that the connection broke
    return answered;
  }
}

test.each([[30, 5], [2, 2], [0, 2]])('with a grace of %i s, kill -9 in the middle of refreshes, %i times: what was answered holds', async (grace, rounds) => {
  const folder = temporaryFolder();
  const env = { DATA_DIR: folder, REFRESH_GRACE_SECONDS: String(grace) };
  let server = await startServer(env);
  await tokensIn(await server.post('/auth/register', { username: 'john', password: PASSWORD }));
  for (let round = 0; round < rounds; round += 1) {
    let left = REFRESHES_A_ROUND + Math.floor(Math.random() * CLIENTS);
    const killed = Promise.withResolvers<number | null>();
    const clients = Array.from({ length: CLIENTS }, () => live(server, () => {
      left -= 1;
      if (left === 0) killed.resolve(server.stop('SIGKILL'));
    }));
    const answered = await Promise.all(clients);
    await killed.promise;
    server = await startServer(env);
    for (const { current, ended } of answered) {
      if (current) {
        expect((await server.get('/users/me', current.access_token)).status).toBe(200);
        const answer = await server.post('/auth/refresh', { refresh_token: current.refresh_token });
        // the answer to a refresh may have been lost with the process; its token is then superseded, and only the grace excuses it
        expect(answer.ok ? 'refreshed' : (await answer.json() as { code: string }).code).toMatch(grace === 30 ? /^refreshed$/ : /^(refreshed|refresh_token_reused)$/);
      }
      for (const tokens of ended) {
        expect((await server.get('/users/me', tokens.access_token)).status).toBe(401);
        expect((await server.post('/auth/refresh', { refresh_token: tokens.refresh_token })).status).toBe(401);
      }
    }
  }
});

test('SIGTERM: what is in flight is answered, what is new is refused, and the exit code is 0', async () => {
  const server = await startServer({ DATA_DIR: temporaryFolder(), ARGON2_MEMORY_KIB: '65536', ARGON2_TIME_COST: '4' });
  await (await server.get('/health')).text(); // leaves an idle keep-alive connection behind, which would last 72 seconds
  const { accepted, answered } = register(server.url);
  await accepted;
  const started = performance.now();
  const stopped = server.stop('SIGTERM');
  expect(await answered).toBe(201);
  expect(await stopped).toBe(0);
  expect(performance.now() - started).toBeLessThan(30_000);
  await expect(server.get('/health')).rejects.toThrow();
});

/** Signs up. `accepted` resolves when the server has read the head of the request and asked for its body. */
function register(url: string) {
  const body = JSON.stringify({ username: 'john', password: PASSWORD });
  const headers = { 'content-type': 'application/json', 'content-length': body.length, 'expect': '100-continue' };
  const sent = request(`${url}/auth/register`, { method: 'POST', headers });
  const accepted = once(sent, 'continue').then(() => sent.end(body));
  const answered = once(sent, 'response').then(([answer]) => (answer as IncomingMessage).resume().statusCode);
  sent.flushHeaders();
  return { accepted, answered };
}
