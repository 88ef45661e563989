import { describe, expect, test } from 'vitest';
import { bearer, cookieOf, DAY_MS, problemOf, startApp } from './support/app.ts';

const cookie = (...tokens: string[]) => ({ cookie: tokens.map((token) => `refresh_token=${token}`).join('; ') });

describe('signing out', () => {
  test('ends refresh and access token at once, and clears the cookie', async () => {
    const { post, get, refresh, register } = await startApp();
    const { refreshToken, accessToken } = await register();
    expect((await get('/users/me', accessToken)).statusCode).toBe(200);
    const answer = await post('/auth/logout', undefined, cookie(refreshToken));
    expect(answer.json()).toEqual({ msg: 'logged out' });
    expect(cookieOf(answer)).toMatchObject({ value: '', maxAge: 0, path: '/', httpOnly: true });
    expect(problemOf(await get('/users/me', accessToken))).toBe('401 access_token_invalid');
    expect(problemOf(await refresh(refreshToken))).toBe('401 session_ended');
  });

  test('works by cookie, by body, by Authorization with either token, and by an expired access token', async () => {
    const { clock, post, get, register, login } = await startApp();
    await register();
    for (const present of [
      ({ refreshToken }: { refreshToken: string }) => post('/auth/logout', { refresh_token: refreshToken }),
      ({ refreshToken }: { refreshToken: string }) => post('/auth/logout', {}, bearer(refreshToken)),
      ({ accessToken }: { accessToken: string }) => post('/auth/logout', undefined, bearer(accessToken)),
      ({ accessToken }: { accessToken: string }) => {
        clock.now += 20 * 60_000;
        return post('/auth/logout', undefined, bearer(accessToken));
      },
    ]) {
      const tokens = await login();
      expect((await present(tokens as never)).statusCode).toBe(200);
      expect((await get('/auth/sessions', tokens.accessToken)).statusCode).toBe(401);
    }
    const { accessToken } = await login();
    const { sessions } = (await get('/auth/sessions', accessToken)).json<{ sessions: unknown[] }>();
    expect(sessions).toHaveLength(2);
  });

  test('twice is fine, with a forged token ends nothing, and with nothing presented is refused', async () => {
    const { post, get, register } = await startApp();
    const { refreshToken, accessToken } = await register();
    const forged = refreshToken.replace(/.{10}$/, 'AAAAAAAAAA');
    expect((await post('/auth/logout', { refresh_token: forged })).json()).toEqual({ msg: 'logged out' });
    expect((await post('/auth/logout', undefined, bearer(`${accessToken}x`))).statusCode).toBe(200);
    expect((await get('/users/me', accessToken)).statusCode).toBe(200);
    expect((await post('/auth/logout', { refresh_token: refreshToken })).statusCode).toBe(200);
    expect((await post('/auth/logout', { refresh_token: refreshToken })).statusCode).toBe(200);
    expect(problemOf(await post('/auth/logout'))).toBe('401 token_missing');
  });

  test('with a token superseded within the grace counts for whatever scope was asked', async () => {
    const { post, get, register, login, refresh, events } = await startApp();
    const { refreshToken } = await register();
    const other = await login();
    await refresh(refreshToken);
    expect((await post('/auth/logout?scope=all', { refresh_token: refreshToken })).statusCode).toBe(200);
    expect((await get('/users/me', other.accessToken)).statusCode).toBe(401);
    expect(events()).not.toContain('refresh_token_reused');
  });

  test.each(['current', 'others', 'all'])(
    'with a token superseded past the grace is reuse: with scope=%s it ends its own session and no other', async (scope) => {
      const { clock, post, get, register, login, refresh, events } = await startApp();
      const { refreshToken, accessToken } = await register();
      const other = await login();
      await refresh(refreshToken);
      clock.now += 31_000;
      const answer = await post(`/auth/logout?scope=${scope}`, undefined, cookie(refreshToken));
      expect(answer.json()).toEqual({ msg: 'logged out' });
      expect((await get('/users/me', accessToken)).statusCode).toBe(401);
      expect((await get('/users/me', other.accessToken)).statusCode).toBe(200);
      expect(events()).toContain('refresh_token_reused');
      expect(events()).not.toContain('signed_out');
    },
  );

  test('scope=others keeps this session and its cookie, scope=all ends every one, of this user only', async () => {
    const { post, get, register, login } = await startApp();
    const jane = await register('jane@example.com');
    const here = await register();
    const there = await login();
    const others = await post('/auth/logout?scope=others', undefined, cookie(here.refreshToken));
    expect([others.statusCode, cookieOf(others)]).toEqual([200, undefined]);
    expect((await get('/users/me', here.accessToken)).statusCode).toBe(200);
    expect((await get('/users/me', there.accessToken)).statusCode).toBe(401);
    const again = await login();
    await post('/auth/logout?scope=all', undefined, bearer(here.accessToken));
    for (const { accessToken } of [here, again]) expect((await get('/users/me', accessToken)).statusCode).toBe(401);
    expect((await get('/users/me', jane.accessToken)).statusCode).toBe(200);
    expect(problemOf(await post('/auth/logout?scope=everything', undefined, cookie(here.refreshToken)))).toBe('422 invalid_input');
  });

  test('the token of a session that is over cannot end the user’s other sessions', async () => {
    const { clock, post, get, register, login } = await startApp();
    const stolen = await register();
    await post('/auth/logout', { refresh_token: stolen.refreshToken });
    const owner = await login();
    await post('/auth/logout?scope=all', { refresh_token: stolen.refreshToken });
    await post('/auth/logout?scope=all', undefined, bearer(stolen.accessToken));
    expect((await get('/users/me', owner.accessToken)).statusCode).toBe(200);
    clock.now += 8 * DAY_MS;
    expect((await post('/auth/logout?scope=all', { refresh_token: owner.refreshToken })).statusCode).toBe(200);
  });

  test('ends the session of every cookie that was presented', async () => {
    const { post, get, register, login } = await startApp();
    const one = await register();
    const two = await login();
    await post('/auth/logout', undefined, cookie(one.refreshToken, two.refreshToken, 'junk'));
    for (const { accessToken } of [one, two]) expect((await get('/users/me', accessToken)).statusCode).toBe(401);
  });
});
