import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { PASSWORD, temporaryFolder } from '../support/app.ts';
import { type Server, startServer, tokensIn } from '../support/server.ts';

const ACCOUNTS = 40;
const NEW = 'another long passphrase';

/** An account with a token in hand that was asked for, as development may show it. */
async function prepare(server: Server, email: string) {
  const { access_token: accessToken } = await tokensIn(await server.post('/auth/register', { email, password: PASSWORD }));
  const { reset_token: token } = (await (await server.post('/auth/forgot-password', { email })).json()) as { reset_token: string };
  return { email, accessToken, token };
}

test('a reset that is cut off by kill -9 is done as a whole or not at all: password, token, sessions and address', async () => {
  const env = { DATA_DIR: temporaryFolder(), RESET_TOKEN_IN_RESPONSE: 'true' };
  const server = await startServer(env);
  const accounts = await Promise.all(Array.from({ length: ACCOUNTS }, (_, index) => prepare(server, `user${index}@example.com`)));
  const resets = accounts.map(async ({ token }, index) => {
    await delay(index * 2);
    return (await server.post('/auth/change-password', { token, new_password: NEW })).status;
  });
  await Promise.any(resets);
  await server.stop('SIGKILL');
  const answered = (await Promise.allSettled(resets)).map((result) => (result.status === 'fulfilled' ? result.value : null));
  expect(answered).toContain(200);

  const after = await startServer(env);
  const states = await Promise.all(accounts.map(async ({ email, accessToken, token }) => {
    const login = async (password: string) => (await after.post('/auth/login', { email, password })).status;
    const [byOld, byNew, session, again] = [await login(PASSWORD), await login(NEW), (await after.get('/users/me', accessToken)).status, (await after.post('/auth/change-password', { token, new_password: 'short' })).status];
    return [byOld, byNew, session, again].join(' ');
  }));
  const done = '401 200 401 400';
  for (const [index, state] of states.entries()) expect([done, ...(answered[index] === 200 ? [] : ['200 401 200 422'])]).toContain(state);
  expect(new Set(states).size, 'the kill came between').toBe(2);
});
