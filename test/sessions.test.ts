import { describe, expect, test } from 'vitest';
import { formatRefreshToken, hashToken, nextToken, parseRefreshToken } from '../src/core/refresh-tokens.ts';
import { bearer, cookieOf, DAY_MS, problemOf, startApp, temporaryFolder, type TestApp, tokensOf } from './support/app.ts';

/** Refreshes so many times in a row, the given time apart; yields every token, the first one included. */
async function rotate({ refresh, clock }: TestApp, first: string, times: number, apartMs = 60_000): Promise<string[]> {
  const tokens = [first];
  for (let time = 0; time < times; time += 1) {
    clock.now += apartMs;
    tokens.push(tokensOf(await refresh(tokens.at(-1)!)).refreshToken);
  }
  return tokens;
}

function withSecretChanged(token: string): string {
  const at = token.lastIndexOf('.') - 20;
  return token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1);
}

describe('rotation', () => {
  test('each refresh gives a new refresh token and a working access token, and keeps one row', async () => {
    const test = await startApp();
    const { refreshToken, accessToken } = await test.register();
    const tokens = await rotate(test, refreshToken, 5);
    expect(new Set(tokens).size).toBe(6);
    const { sessionId } = parseRefreshToken(refreshToken)!;
    const row = (await test.app.store.sessions.find(sessionId))!.session;
    expect(row).toMatchObject({ generation: 5, tokenHash: hashToken(parseRefreshToken(tokens[5]!)!), revokedAt: null });
    const list = (await test.get('/auth/sessions', accessToken)).json<{ sessions: unknown[] }>();
    expect(list.sessions).toHaveLength(1);
  });

  test('the secret of a token is in no column of the row', async () => {
    const { app, register } = await startApp();
    const { refreshToken } = await register();
    const { sessionId } = parseRefreshToken(refreshToken)!;
    const row = (await app.store.sessions.find(sessionId))!.session;
    expect(JSON.stringify(row)).not.toContain(refreshToken.split('.')[3]);
  });

  test('twenty requests at once get the same new token, by one rotation', async () => {
    const { app, register, refresh } = await startApp();
    const { refreshToken } = await register();
    const answers = await Promise.all(Array.from({ length: 20 }, () => refresh(refreshToken)));
    expect(new Set(answers.map((answer) => tokensOf(answer).refreshToken)).size).toBe(1);
    const { session } = (await app.store.sessions.find(parseRefreshToken(refreshToken)!.sessionId))!;
    expect(session).toMatchObject({ generation: 1, revokedAt: null });
  });

  test('idle time-out: a session that is not refreshed ends, and one that is does not', async () => {
    const { clock, register, refresh, get } = await startApp();
    const { refreshToken } = await register();
    clock.now += 7 * DAY_MS - 1;
    const next = tokensOf(await refresh(refreshToken));
    clock.now += 7 * DAY_MS;
    expect(problemOf(await refresh(next.refreshToken))).toBe('401 session_ended');
    expect(problemOf(await get('/users/me', next.accessToken))).toBe('401 access_token_invalid');
  });

  test('absolute time-out: no refresh moves the end, Max-Age shrinks towards it, and no access token outlives it', async () => {
    const { clock, register, refresh } = await startApp({ SESSION_EXPIRE_DAYS: '8' });
    let { refreshToken } = await register();
    clock.now += 6 * DAY_MS;
    const first = await refresh(refreshToken);
    expect(cookieOf(first)!.maxAge).toBe(2 * 86_400);
    ({ refreshToken } = tokensOf(first));
    clock.now += 2 * DAY_MS - 60_000;
    const second = await refresh(refreshToken);
    expect(cookieOf(second)!.maxAge).toBe(60);
    expect(second.json()).toMatchObject({ expires_in: 60 });
    clock.now += 60_000;
    expect(problemOf(await refresh(tokensOf(second).refreshToken))).toBe('401 session_ended');
  });
});

describe('a superseded token', () => {
  test('within the grace is answered with the current token, and nothing is written', async () => {
    const { app, clock, register, refresh, events } = await startApp();
    const { refreshToken } = await register();
    const current = tokensOf(await refresh(refreshToken)).refreshToken;
    const before = await app.store.sessions.find(parseRefreshToken(refreshToken)!.sessionId);
    clock.now += 30_000;
    const again = await refresh(refreshToken);
    expect(tokensOf(again).refreshToken).toBe(current);
    expect(cookieOf(again)!.value).toBe(current);
    expect(await app.store.sessions.find(parseRefreshToken(refreshToken)!.sessionId)).toEqual(before);
    expect(events()).toContain('refresh_token_repeated');
  });

  test('of several generations ago, all within the grace, is answered with the current token', async () => {
    const test = await startApp();
    const { refreshToken } = await test.register();
    const tokens = await rotate(test, refreshToken, 6, 2_000);
    const current = tokens.pop()!;
    for (const token of tokens) expect(tokensOf(await test.refresh(token)).refreshToken).toBe(current);
  });

  test('past the grace ends its session, its access tokens with it, and no other', async () => {
    const { app, clock, register, login, refresh, get, events } = await startApp();
    const stolen = await register();
    const other = await login();
    const { refreshToken, accessToken } = tokensOf(await refresh(stolen.refreshToken));
    clock.now += 30_001;
    const answer = await refresh(stolen.refreshToken);
    expect(problemOf(answer)).toBe('401 refresh_token_reused');
    expect(answer.body).not.toContain('rt1.');
    const { session } = (await app.store.sessions.find(parseRefreshToken(stolen.refreshToken)!.sessionId))!;
    expect(session).toMatchObject({ revokedAt: clock.now, revokedReason: 'refresh_token_reused' });
    expect(events()).toContain('refresh_token_reused');
    expect(problemOf(await refresh(refreshToken))).toBe('401 session_ended');
    expect(problemOf(await get('/users/me', accessToken))).toBe('401 access_token_invalid');
    expect((await get('/users/me', other.accessToken)).statusCode).toBe(200);
    expect((await refresh(other.refreshToken)).statusCode).toBe(200);
  });

  test.each([1, 5, 200])('%i generations old ends its session', async (generations) => {
    const test = await startApp();
    const { refreshToken } = await test.register();
    const tokens = await rotate(test, refreshToken, generations, 31_000);
    test.clock.now += 31_000;
    expect(problemOf(await test.refresh(refreshToken))).toBe('401 refresh_token_reused');
    expect(problemOf(await test.refresh(tokens.at(-1)!))).toBe('401 session_ended');
  });

  test('is reuse though a thief has refreshed more often than once a grace ever since', async () => {
    const test = await startApp();
    const { refreshToken: stolen } = await test.register();
    const thief = await rotate(test, stolen, 1, 35_000);
    await rotate(test, thief[1]!, 6, 25_000); // two minutes and a half: five graces
    const answer = await test.refresh(stolen);
    expect(problemOf(answer)).toBe('401 refresh_token_reused');
    expect(test.events().filter((event) => event?.startsWith('refresh_token'))).toEqual(['refresh_token_reused']);
  });

  test.each([29_999, 15_000, 7_000, 1_000])('is excused within the grace, and never after four graces, in a session refreshed every %i ms', async (apart) => {
    const test = await startApp();
    const { refreshToken } = await test.register();
    const tokens = await rotate(test, refreshToken, Math.ceil(200_000 / apart), apart);
    const ageOf = (index: number) => (tokens.length - 2 - index) * apart; // how long ago its child took its place
    const excused = tokens.findLastIndex((_token, index) => ageOf(index) > 120_000);
    expect(problemOf(await test.refresh(tokens[tokens.findIndex((_token, index) => ageOf(index) <= 30_000)]!))).toBe('200');
    expect(problemOf(await test.refresh(tokens[excused]!))).toBe('401 refresh_token_reused');
  });

  test('is reuse however many generations it is behind', async () => {
    const test = await startApp({ REFRESH_GRACE_SECONDS: '2', RATE_LIMIT_ENABLED: 'false' });
    const { refreshToken } = await test.register();
    await rotate(test, refreshToken, 300, 40);
    expect(problemOf(await test.refresh(refreshToken))).toBe('401 refresh_token_reused');
  });

  test('is reuse after more rotations within the grace than a request follows, so that nobody can outrun the detection', async () => {
    const test = await startApp();
    const { refreshToken } = await test.register();
    await rotate(test, refreshToken, 1_001, 1);
    expect(problemOf(await test.refresh(refreshToken))).toBe('401 refresh_token_reused');
  });

  test('is not excused by a clock that was set back', async () => {
    const test = await startApp();
    const { refreshToken } = await test.register();
    await rotate(test, refreshToken, 1);
    test.clock.now -= 3_600_000;
    expect(problemOf(await test.refresh(refreshToken))).toBe('401 refresh_token_reused');
  });

  test('is counted for each session, and each repeat is logged with both addresses', async () => {
    const { app, register, login, refresh, logLines } = await startApp();
    const john = await register();
    const phone = await login();
    for (const { refreshToken } of [john, phone]) await refresh(refreshToken);
    for (let time = 0; time < 3; time += 1) await refresh(john.refreshToken);
    await app.inject({ method: 'POST', url: '/auth/refresh', payload: { refresh_token: phone.refreshToken }, remoteAddress: '192.0.2.7' });
    const lines = logLines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ event }) => event === 'refresh_token_repeated');
    const { sessionId } = parseRefreshToken(phone.refreshToken)!;
    expect(lines.map(({ repeats }) => repeats)).toEqual([1, 2, 3, 1]);
    expect(lines.at(-1)).toMatchObject({ user_id: john.userId, session_id: sessionId, session_ip: '127.0.0.1', ip: '192.0.2.7' });
  });

  test('in the strict mode ends its session even in the same millisecond', async () => {
    const { register, refresh } = await startApp({ REFRESH_GRACE_SECONDS: '0' });
    const { refreshToken } = await register();
    const next = tokensOf(await refresh(refreshToken)).refreshToken;
    expect(problemOf(await refresh(refreshToken))).toBe('401 refresh_token_reused');
    expect(problemOf(await refresh(next))).toBe('401 session_ended');
  });
});

test('a row that changes twice while a request is under way: the answer is what the row says in the end', async () => {
  const { app, register, refresh } = await startApp();
  const { refreshToken } = await register();
  const current = tokensOf(await refresh(refreshToken)).refreshToken;
  const token = parseRefreshToken(refreshToken)!;
  const { sessions } = app.store;
  const { find } = sessions;
  sessions.find = async (id) => { // what the database held between two changes: this token is the current one again
    sessions.find = find;
    const found = (await find(id))!;
    return { ...found, session: { ...found.session, generation: token.generation, tokenHash: hashToken(token) } };
  };
  expect(tokensOf(await refresh(refreshToken)).refreshToken).toBe(current);
});

describe('a forgery', () => {
  test.each([
    ['a wrong secret of the current generation', (token: string) => withSecretChanged(token)],
    ['a wrong secret of an older generation', (token: string) => withSecretChanged(token.replace(/\.2\./, '.1.'))],
    ['a wrong MAC', (token: string) => token.replace(/.{22}$/, 'A'.repeat(22))],
    ['no MAC', (token: string) => token.replace(/\..{22}$/, '')],
    ['a generation that is yet to come', (token: string) => token.replace(/\.2\./, '.3.')],
    ['the current secret under an older generation', (token: string) => token.replace(/\.2\./, '.1.')],
    ['another spelling of the same bytes', (token: string) => `${token.slice(0, -1)}${String.fromCharCode(token.charCodeAt(token.length - 1) + 1)}`],
    ['a leading zero', (token: string) => token.replace(/\.2\./, '.02.')],
    ['another version', (token: string) => token.replace(/^rt1/, 'rt2')],
    ['trailing characters', (token: string) => `${token}=`],
    ['nothing of the kind', () => 'x'],
    ['the empty string', () => ''],
  ])('with %s is refused, ends nothing and clears no cookie', async (_name, forge) => {
    const test = await startApp();
    const { refreshToken } = await test.register();
    const genuine = (await rotate(test, refreshToken, 2)).at(-1)!;
    test.clock.now += 60_000;
    const answer = await test.refresh(forge(genuine));
    expect(problemOf(answer)).toBe('401 refresh_token_invalid');
    expect(cookieOf(answer)).toBeUndefined();
    expect((await test.refresh(genuine)).statusCode).toBe(200);
  });

  test('is refused before any look-up, and the log says which session it names', async () => {
    const { app, register, refresh, logLines } = await startApp();
    const { refreshToken } = await register();
    app.store.sessions.rotate = app.store.sessions.find = () => { throw new Error('a look-up'); };
    logLines.length = 0;
    expect(problemOf(await refresh(withSecretChanged(refreshToken)))).toBe('401 refresh_token_invalid');
    const { sessionId } = parseRefreshToken(refreshToken)!;
    expect(JSON.parse(logLines[0]!)).toMatchObject({ event: 'refresh_token_refused', reason: 'forged', session_id: sessionId, user_id: null });
  });

  test.each([['older', 0], ['current', 2]])('made with a stolen key for the %s generation is refused, and ends nothing', async (_name, generation) => {
    const test = await startApp();
    const { refreshToken } = await test.register();
    const current = (await rotate(test, refreshToken, 2, 1_000)).at(-1)!;
    const made = { ...parseRefreshToken(current)!, generation, secret: Buffer.alloc(32, 1) };
    const forged = formatRefreshToken(test.app.config.secrets.derivedKeys[0], made);
    expect(problemOf(await test.refresh(forged))).toBe('401 refresh_token_invalid');
    expect((await test.refresh(current)).statusCode).toBe(200);
  });

  test('with the id of a session that does not exist is refused', async () => {
    const { register, refresh } = await startApp();
    const { refreshToken } = await register();
    const { sessionId } = parseRefreshToken(refreshToken)!;
    expect(problemOf(await refresh(refreshToken.replace(sessionId, 'A'.repeat(22))))).toBe('401 refresh_token_invalid');
  });
});

test('a genuine token ahead of its row, after a database lost commits, is refused, logged, and ends nothing', async () => {
  const { app, register, refresh, logLines } = await startApp();
  const { refreshToken, userId } = await register();
  const [key] = app.config.secrets.derivedKeys;
  const token = parseRefreshToken(refreshToken)!;
  const ahead = formatRefreshToken(key, nextToken(key.chainKey, nextToken(key.chainKey, token)));
  logLines.length = 0;
  expect(problemOf(await refresh(ahead))).toBe('401 refresh_token_invalid');
  const about = { reason: 'ahead', session_id: token.sessionId, user_id: userId };
  expect(JSON.parse(logLines[0]!)).toMatchObject({ event: 'refresh_token_refused', ...about });
  expect((await refresh(refreshToken)).statusCode).toBe(200);
});

test('the token of a session that is over is logged with its session and user', async () => {
  const { register, post, refresh, logLines } = await startApp();
  const { refreshToken, userId } = await register();
  await post('/auth/logout', { refresh_token: refreshToken });
  logLines.length = 0;
  expect(problemOf(await refresh(refreshToken))).toBe('401 session_ended');
  const about = { user_id: userId, session_id: parseRefreshToken(refreshToken)!.sessionId };
  expect(JSON.parse(logLines[0]!)).toMatchObject({ event: 'refresh_token_dead', ...about });
});

test('a session whose key this copy of the server does not know is refused, and its cookie is not cleared', async () => {
  const folder = temporaryFolder();
  const [oldKey, newKey] = ['Zmlyc3Qta2V5LW9mLXRoZS10ZXN0LTEyMzQ1Njc4OTA', 'c2Vjb25kLWtleS1vZi10aGUtdGVzdC0xMjM0NTY3ODk'] as const;
  const before = await startApp({ DATA_DIR: folder, SECRET_KEY: oldKey });
  const { refreshToken } = await before.register();
  const during = await startApp({ DATA_DIR: folder, SECRET_KEY: `${newKey},${oldKey}` });
  const rotated = tokensOf(await during.refresh(refreshToken));
  const after = await startApp({ DATA_DIR: folder, SECRET_KEY: newKey });
  expect((await during.get('/users/me', rotated.accessToken)).statusCode).toBe(200);
  expect(problemOf(await after.get('/users/me', rotated.accessToken))).toBe('401 access_token_invalid');
  const answer = await after.post('/auth/refresh', undefined, { cookie: `refresh_token=${rotated.refreshToken}` });
  expect([problemOf(answer), cookieOf(answer)]).toEqual(['401 refresh_token_invalid', undefined]);
  const { accessToken } = await after.login();
  expect((await after.get('/auth/sessions', accessToken)).json<{ sessions: unknown[] }>().sessions).toHaveLength(1);
  expect((await after.post('/auth/logout', { refresh_token: rotated.refreshToken })).statusCode).toBe(200);
  expect((await during.get('/users/me', rotated.accessToken)).statusCode).toBe(200); // that sign-out was told nothing it could read
});

describe('a clock that was set back after a refusal brings nothing back:', () => {
  test.each([
    ['its idle end', {}, 7 * DAY_MS], ['its absolute end', { REFRESH_TOKEN_EXPIRE_DAYS: '7', SESSION_EXPIRE_DAYS: '7' }, 7 * DAY_MS],
  ])('a session that was refused for %s', async (_name, env, age) => {
    const { app, clock, register, login, refresh, get } = await startApp(env);
    const { refreshToken, accessToken } = await register();
    clock.now += age;
    const other = await login();
    expect(problemOf(await refresh(refreshToken))).toBe('401 session_ended');
    clock.now -= DAY_MS;
    expect(problemOf(await refresh(refreshToken))).toBe('401 session_ended');
    clock.now -= age - DAY_MS - 1000;
    expect(problemOf(await refresh(refreshToken))).toBe('401 session_ended');
    expect(problemOf(await get('/users/me', accessToken))).toBe('401 access_token_invalid');
    const { sessionId } = parseRefreshToken(refreshToken)!;
    expect((await app.store.sessions.find(sessionId))?.session).toMatchObject({ revokedReason: 'expired' });
    const { sessions } = (await get('/auth/sessions', other.accessToken)).json<{ sessions: { id: string }[] }>();
    expect(sessions.map(({ id }) => id)).not.toContain(sessionId);
  });

  test('an access token that was refused for its age', async () => {
    const { clock, register, refresh, get } = await startApp();
    const { refreshToken, accessToken } = await register();
    clock.now += 15 * 60_000;
    expect(problemOf(await get('/users/me', accessToken))).toBe('401 access_token_invalid');
    clock.now -= 10 * 60_000;
    expect(problemOf(await get('/users/me', accessToken))).toBe('401 access_token_invalid');
    expect((await get('/users/me', tokensOf(await refresh(refreshToken)).accessToken)).statusCode).toBe(200);
  });

  test('a session whose time was over when it was to sign out everywhere; it ends no other', async () => {
    const { clock, post, register, login, refresh, get } = await startApp();
    const { refreshToken } = await register();
    clock.now += 7 * DAY_MS;
    const other = await login();
    expect((await post('/auth/logout?scope=all', { refresh_token: refreshToken })).statusCode).toBe(200);
    clock.now -= DAY_MS;
    expect(problemOf(await refresh(refreshToken))).toBe('401 session_ended');
    expect((await get('/users/me', other.accessToken)).statusCode).toBe(200);
  });

  test('sessions past their time when the password changed', async () => {
    const { clock, post, register, login, refresh } = await startApp();
    const { refreshToken } = await register();
    clock.now += 7 * DAY_MS;
    const { accessToken } = await login();
    const change = { old_password: 'correct horse battery', new_password: 'another long passphrase' };
    expect((await post('/auth/change-password', change, bearer(accessToken))).statusCode).toBe(200);
    clock.now -= DAY_MS;
    expect(problemOf(await refresh(refreshToken))).toBe('401 session_ended');
  });
});

describe('the list of sessions', () => {
  test('shows device, address and times of one’s live sessions, and no secret', async () => {
    const { post, get, register, login } = await startApp();
    const { accessToken } = await register();
    await post('/auth/login', { email: 'john@example.com', password: 'correct horse battery' }, { 'user-agent': `Firefox${'x'.repeat(400)}` });
    await login();
    const { sessions } = (await get('/auth/sessions', accessToken)).json<{ sessions: Record<string, unknown>[] }>();
    expect(sessions).toHaveLength(3);
    expect(sessions.filter(({ current }) => current)).toHaveLength(1);
    expect(sessions.map(({ device }) => String(device).length).sort((a, b) => b - a)[0]).toBe(256);
    for (const session of sessions) {
      expect(Object.keys(session).sort()).toEqual(['address', 'created_at', 'current', 'device', 'expires_at', 'id', 'idle_expires_at', 'last_used_at']);
    }
  });

  test('shows where a session was last refreshed from', async () => {
    const { app, post, get, register } = await startApp();
    const { refreshToken } = await register();
    const { accessToken } = tokensOf(await post('/auth/refresh', { refresh_token: refreshToken }, { 'user-agent': 'another browser' }));
    expect((await get('/auth/sessions', accessToken)).json()).toMatchObject({ sessions: [{ device: 'another browser', address: '127.0.0.1' }] });
    await app.inject({ method: 'POST', url: '/auth/refresh', payload: { refresh_token: refreshToken }, remoteAddress: '192.0.2.7' });
    expect((await get('/auth/sessions', accessToken)).json()).toMatchObject({ sessions: [{ address: '127.0.0.1' }] });
  });

  test('a user ends one of the own sessions at once, and never one of another user', async () => {
    const { request, get, register, login } = await startApp();
    const john = await register();
    const phone = await login();
    const jane = await register('jane@example.com');
    const idOf = (refreshToken: string) => parseRefreshToken(refreshToken)!.sessionId;
    const end = (id: string, accessToken: string) => request({ method: 'DELETE', url: `/auth/sessions/${id}`, headers: bearer(accessToken) });
    expect(problemOf(await end(idOf(phone.refreshToken), jane.accessToken))).toBe('404 session_not_found');
    expect((await get('/users/me', phone.accessToken)).statusCode).toBe(200);
    const ended = await end(idOf(phone.refreshToken), john.accessToken);
    expect([ended.statusCode, ended.body, cookieOf(ended)]).toEqual([204, '', undefined]);
    expect((await get('/users/me', phone.accessToken)).statusCode).toBe(401);
    expect(problemOf(await end(idOf(phone.refreshToken), john.accessToken))).toBe('404 session_not_found');
    for (const id of ['%00', 'a%00', '%20', 'ä']) expect(problemOf(await end(id, john.accessToken))).toBe('422 invalid_input');
    const own = await end(idOf(john.refreshToken), john.accessToken);
    expect(cookieOf(own)).toMatchObject({ value: '', maxAge: 0 });
    expect((await get('/users/me', john.accessToken)).statusCode).toBe(401);
  });

  test('sessions past their absolute end are deleted', async () => {
    const { app, clock, register } = await startApp();
    const { refreshToken } = await register();
    clock.now += 30 * DAY_MS;
    expect(await app.store.sessions.purge(clock.now)).toBe(1);
    expect(await app.store.sessions.find(parseRefreshToken(refreshToken)!.sessionId)).toBeUndefined();
  });
});
