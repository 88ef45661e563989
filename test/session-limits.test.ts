import { describe, expect, test } from 'vitest';
import { parseRefreshToken } from '../src/core/refresh-tokens.ts';
import { bearer, DAY_MS, PASSWORD, problemOf, startApp, tokensOf } from './support/app.ts';
import { linesOf, pagesOf } from './support/sessions.ts';

const JOHN = { email: 'john@example.com', password: PASSWORD };
const idOf = (refreshToken: string) => parseRefreshToken(refreshToken)!.sessionId;
type Page = { sessions: { id: string; current: boolean }[]; next: string | null };

describe('the limit of sessions', () => {
  test('past it a sign-in ends the session that was used longest ago, and logs it', async () => {
    const test = await startApp({ SESSIONS_PER_USER: '3' });
    const jane = await test.register('jane@example.com');
    const sessions = [await test.register()];
    for (let time = 0; time < 2; time += 1) {
      test.clock.now += 1000;
      sessions.push(await test.login());
    }
    test.clock.now += 1000;
    expect((await test.refresh(sessions[0]!.refreshToken)).statusCode).toBe(200);
    expect(test.events()).not.toContain('session_limit');
    const { accessToken, userId } = await test.login();
    const alive = await Promise.all(sessions.map(async (each) => (await test.get('/users/me', each.accessToken)).statusCode));
    expect(alive).toEqual([200, 401, 200]);
    expect(problemOf(await test.refresh(sessions[1]!.refreshToken))).toBe('401 session_ended');
    expect((await test.app.store.sessions.find(idOf(sessions[1]!.refreshToken)))?.session.revokedReason).toBe('session_limit');
    expect(linesOf(test, 'session_limit')).toMatchObject([{ level: 30, user_id: userId, sessions_ended: 1, ip: '127.0.0.1' }]);
    expect((await pagesOf(test, accessToken)).flat()).toHaveLength(3);
    expect((await test.get('/users/me', jane.accessToken)).statusCode).toBe(200);
  });

  test('a session that is past its time makes room before one that lives', async () => {
    const test = await startApp({ SESSIONS_PER_USER: '2', SESSION_EXPIRE_DAYS: '7' });
    const first = await test.register();
    test.clock.now += 4 * DAY_MS;
    const second = await test.login();
    test.clock.now += 3 * DAY_MS - 60_000;
    await test.refresh(first.refreshToken); // it was used last, and is at its absolute end in a minute
    test.clock.now += 60_000;
    await test.login();
    expect((await test.app.store.sessions.find(idOf(second.refreshToken)))?.session.revokedReason).toBeNull();
    expect((await test.refresh(second.refreshToken)).statusCode).toBe(200);
  });

  test('holds for sign-ins that race, and all of them succeed', async () => {
    const test = await startApp({ SESSIONS_PER_USER: '5' });
    await test.register();
    const answers = await Promise.all(Array.from({ length: 30 }, () => test.post('/auth/login', JOHN)));
    expect(answers.map(({ statusCode }) => statusCode)).toEqual(Array(30).fill(200));
    const { accessToken } = await test.login();
    expect((await pagesOf(test, accessToken)).flat()).toHaveLength(5);
  });

  test('1 means that a sign-in ends every other session', async () => {
    const test = await startApp({ SESSIONS_PER_USER: '1' });
    const first = await test.register();
    const second = await test.login();
    expect((await test.get('/users/me', first.accessToken)).statusCode).toBe(401);
    expect((await test.get('/users/me', second.accessToken)).statusCode).toBe(200);
  });

  test('a sign-in whose cookie came along takes that session’s place, and ends no other', async () => {
    const test = await startApp({ SESSIONS_PER_USER: '2' });
    const oldest = await test.register();
    test.clock.now += 1000;
    const here = await test.login();
    await test.post('/auth/login', JOHN, { cookie: `refresh_token=${here.refreshToken}` });
    expect((await test.get('/users/me', oldest.accessToken)).statusCode).toBe(200);
    expect(test.events()).not.toContain('session_limit');
  });

  test('a wrong password at the limit ends nothing', async () => {
    const test = await startApp({ SESSIONS_PER_USER: '1' });
    const { accessToken } = await test.register();
    expect((await test.post('/auth/login', { ...JOHN, password: 'wrong password' })).statusCode).toBe(401);
    expect((await test.get('/users/me', accessToken)).statusCode).toBe(200);
  });
});

describe('the list of sessions', () => {
  test('comes in pages, the newest sign-in first, each session once', async () => {
    const test = await startApp();
    const ids = [idOf((await test.register()).refreshToken)];
    let last = await test.login();
    for (let time = 0; time < 6; time += 1) {
      ids.unshift(idOf(last.refreshToken));
      if (time % 2) test.clock.now += 1000; // two of a time each
      last = await test.login();
    }
    ids.unshift(idOf(last.refreshToken));
    const whole = await pagesOf(test, last.accessToken);
    const { sessions } = (await test.get('/auth/sessions', last.accessToken)).json<{ sessions: { created_at: string }[] }>();
    const times = sessions.map(({ created_at }) => created_at);
    expect(times).toEqual(times.toSorted().reverse());
    expect(whole).toHaveLength(1);
    expect([...whole[0]!].sort()).toEqual([...ids].sort());
    for (const limit of [1, 3, 8, 100]) {
      const pages = await pagesOf(test, last.accessToken, limit);
      expect(pages.flat()).toEqual(whole[0]);
      expect(pages).toHaveLength(Math.ceil(8 / limit));
    }
  });

  test('goes on behind a session that has ended meanwhile, and shows none that is past its time', async () => {
    const test = await startApp();
    const idle = await test.register();
    test.clock.now += 6 * DAY_MS;
    for (let time = 0; time < 3; time += 1) await test.login();
    const { accessToken } = await test.login();
    const [page, next] = await (async () => {
      const { sessions, next } = (await test.get('/auth/sessions?limit=2', accessToken)).json<Page>();
      return [sessions, next] as const;
    })();
    test.clock.now += DAY_MS - 60_000;
    const fresh = tokensOf(await test.post('/auth/login', JOHN));
    test.clock.now += 60_000;
    for (const { id, current } of page) {
      if (!current) await test.request({ method: 'DELETE', url: `/auth/sessions/${id}`, headers: bearer(fresh.accessToken) });
    }
    const rest = (await test.get(`/auth/sessions?after=${next!}`, fresh.accessToken)).json<Page>();
    expect(rest.sessions).toHaveLength(2);
    expect(rest.sessions.map(({ id }) => id)).not.toContain(idOf(idle.refreshToken));
    expect(rest.next).toBeNull();
  });

  test('never shows the sessions of another user, whatever `after` says', async () => {
    const test = await startApp();
    const jane = await test.register('jane@example.com');
    const john = await test.register();
    const after = `${test.clock.now + 1}.${idOf(jane.refreshToken)}`;
    const { sessions } = (await test.get(`/auth/sessions?after=${after}`, john.accessToken)).json<Page>();
    expect(sessions.map(({ id }) => id)).toEqual([idOf(john.refreshToken)]);
  });

  test('refuses what is no page, and names the parameter', async () => {
    const test = await startApp();
    const { accessToken } = await test.register();
    const limits = ['0', '101', '-1', '1.5', '1e2', '', 'ten', '00', '9'.repeat(40), '1&limit=2'];
    const places = ['', '1', 'x.y', '1.', '.x', `${'9'.repeat(16)}.x`, '1.%00', '1.a b', `1.${'x'.repeat(65)}`, '1.x&after=2.x'];
    const refused = async (query: string) => (await test.get(`/auth/sessions?${query}`, accessToken)).json<object>();
    for (const limit of limits) {
      expect(await refused(`limit=${limit}`)).toMatchObject({ status: 422, code: 'invalid_input', errors: [{ pointer: '/limit' }] });
    }
    for (const after of places) {
      expect(await refused(`after=${after}`)).toMatchObject({ status: 422, code: 'invalid_input', errors: [{ pointer: '/after' }] });
    }
    expect(await refused('limit=0')).toMatchObject({ errors: [{ detail: 'must be an integer from 1 to 100' }] });
  });
});
