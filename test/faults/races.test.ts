import { expect, test } from 'vitest';
import { parseRefreshToken } from '../../src/core/refresh-tokens.ts';
import { openStore } from '../../src/store/store.ts';
import { loadConfig } from '../../src/config.ts';
import { databaseFor, PASSWORD, temporaryFolder, TEST_ENVIRONMENT } from '../support/app.ts';
import { type Server, startServer, tokensIn } from '../support/server.ts';

const ROUNDS = 200;
const SHORT_ROUNDS = 30;
const AT_ONCE = 20;

async function startWithUser(graceSeconds = 30) {
  const folder = temporaryFolder();
  const server = await startServer({ DATA_DIR: folder, REFRESH_GRACE_SECONDS: String(graceSeconds) });
  const tokens = await tokensIn(await server.post('/auth/register', { username: 'john', password: PASSWORD }));
  return { server, folder, tokens };
}

const refresh = (server: Server, refreshToken: string) => server.post('/auth/refresh', { refresh_token: refreshToken });

async function storedSession(folder: string, refreshToken: string) {
  const store = await openStore(loadConfig({ ...TEST_ENVIRONMENT, DATA_DIR: folder, ...(await databaseFor(folder)) }).database);
  const row = await store.sessions.find(parseRefreshToken(refreshToken)!.sessionId);
  await store.close();
  return row!.session;
}

test(`${AT_ONCE} refreshes at once, ${ROUNDS} rounds: every answer is 200 with the same new token, by one rotation a round`, async () => {
  const { server, folder, tokens } = await startWithUser();
  let current = tokens.refresh_token;
  for (let round = 1; round <= ROUNDS; round += 1) {
    const answers = await Promise.all(Array.from({ length: AT_ONCE }, async () => tokensIn(await refresh(server, current))));
    const children = new Set(answers.map(({ refresh_token }) => refresh_token));
    expect(children.size).toBe(1);
    [current] = children as unknown as [string];
    expect(parseRefreshToken(current)!.generation).toBe(round);
  }
  expect(await storedSession(folder, current)).toMatchObject({ generation: ROUNDS, revokedAt: null });
});

test(`lost answers and stragglers, ${ROUNDS} rounds: whoever holds a token of the last generations still ends with the current one`, async () => {
  const { server, folder, tokens } = await startWithUser();
  const held = [tokens.refresh_token];
  for (let round = 1; round <= ROUNDS; round += 1) {
    const lost = await refresh(server, held.at(-1)!);
    await lost.body?.cancel();
    const stragglers = await Promise.all(held.map(async (token) => tokensIn(await refresh(server, token))));
    const newest = stragglers.map(({ refresh_token }) => refresh_token).sort((a, b) => parseRefreshToken(b)!.generation - parseRefreshToken(a)!.generation)[0]!;
    expect((await tokensIn(await refresh(server, held[0]!))).refresh_token).toBe(newest);
    held.push(newest);
    if (held.length > 4) held.shift();
  }
  expect(await storedSession(folder, held[0]!)).toMatchObject({ revokedAt: null });
});

test(`a sign-out that races refreshes, ${ROUNDS} rounds: nothing is left alive`, async () => {
  const { server } = await startWithUser();
  for (let round = 0; round < ROUNDS; round += 1) {
    const { refresh_token } = await tokensIn(await server.post('/auth/login', { username: 'john', password: PASSWORD }));
    const racing = Array.from({ length: 6 }, () => refresh(server, refresh_token));
    const logout = server.post('/auth/logout', { refresh_token });
    racing.push(...Array.from({ length: 6 }, () => refresh(server, refresh_token)));
    expect((await logout).status).toBe(200);
    const granted = (await Promise.all(racing)).filter(({ ok }) => ok);
    for (const tokens of await Promise.all(granted.map(tokensIn))) {
      expect((await server.get('/users/me', tokens.access_token)).status).toBe(401);
      expect((await refresh(server, tokens.refresh_token)).status).toBe(401);
    }
    expect((await refresh(server, refresh_token)).status).toBe(401);
  }
});

test(`${AT_ONCE} refreshes at once with a grace of 2 s, ${SHORT_ROUNDS} rounds: all that are answered within it get the same new token`, async () => {
  const { server } = await startWithUser(2);
  let excused = 0;
  while (excused < SHORT_ROUNDS) {
    const { refresh_token } = await tokensIn(await server.post('/auth/login', { username: 'john', password: PASSWORD }));
    const begun = performance.now();
    const answers = await Promise.all(Array.from({ length: AT_ONCE }, () => refresh(server, refresh_token)));
    if (performance.now() - begun > 2_000) continue; // a busy machine: some came later than the grace
    const children = new Set((await Promise.all(answers.map(tokensIn))).map((tokens) => tokens.refresh_token));
    expect(children.size).toBe(1);
    excused += 1;
  }
});

test(`${AT_ONCE} refreshes at once with a grace of 0, ${SHORT_ROUNDS} rounds: one rotates, and the session of the others is over`, async () => {
  const { server, folder } = await startWithUser(0);
  for (let round = 0; round < SHORT_ROUNDS; round += 1) {
    const { refresh_token } = await tokensIn(await server.post('/auth/login', { username: 'john', password: PASSWORD }));
    const answers = await Promise.all(Array.from({ length: AT_ONCE }, () => refresh(server, refresh_token)));
    const rotated = answers.filter(({ ok }) => ok);
    expect(rotated).toHaveLength(1);
    const child = await tokensIn(rotated[0]!);
    expect((await refresh(server, child.refresh_token)).status).toBe(401);
    expect(await storedSession(folder, child.refresh_token)).toMatchObject({ generation: 1, revokedReason: 'refresh_token_reused' });
  }
});
