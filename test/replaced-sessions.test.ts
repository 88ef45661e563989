import { describe, expect, test } from 'vitest';
import { parseRefreshToken } from '../src/core/refresh-tokens.ts';
import { cookieOf, PASSWORD, problemOf, startApp, type TestApp, tokensOf } from './support/app.ts';
import { linesOf } from './support/sessions.ts';

const cookie = (...tokens: string[]) => ({ cookie: tokens.map((token) => `refresh_token=${token}`).join('; ') });
const idOf = (refreshToken: string) => parseRefreshToken(refreshToken)!.sessionId;
const JOHN = { email: 'john@example.com', password: PASSWORD };
const JANE = { email: 'jane@example.com', password: PASSWORD };

const stateOf = async ({ app }: TestApp, refreshToken: string) => {
  const { session } = (await app.store.sessions.find(idOf(refreshToken)))!;
  return { revokedAt: session.revokedAt, revokedReason: session.revokedReason };
};

describe('a sign-in over a live session', () => {
  test.each([
    ['signing in', '/auth/login', JOHN, 'signed_in'],
    ['signing in as somebody else', '/auth/login', JANE, 'signed_in'],
    ['signing up', '/auth/register', { username: 'jim', password: PASSWORD }, 'registered'],
  ])('%s ends the session whose cookie came along, and no other', async (_name, url, body, event) => {
    const test = await startApp();
    await test.register('jane@example.com');
    const here = await test.register();
    const there = await test.login();
    test.logLines.length = 0;
    const answer = await test.post(url, body, cookie(here.refreshToken));
    expect(answer.statusCode).toBeLessThan(300);
    expect(cookieOf(answer)!.value.split('.')[1]).not.toBe(idOf(here.refreshToken));
    expect(problemOf(await test.get('/users/me', here.accessToken))).toBe('401 access_token_invalid');
    expect(problemOf(await test.refresh(here.refreshToken))).toBe('401 session_ended');
    expect(await stateOf(test, here.refreshToken)).toMatchObject({ revokedReason: 'replaced' });
    expect((await test.get('/users/me', there.accessToken)).statusCode).toBe(200);
    expect((await test.get('/users/me', tokensOf(answer).accessToken)).statusCode).toBe(200);
    expect(linesOf(test, event)).toMatchObject([{ replaced: [idOf(here.refreshToken)] }]);
  });

  test('ends the sessions of several cookies, and of one superseded within the grace', async () => {
    const test = await startApp();
    const [one, two] = [await test.register(), await test.login()];
    const { accessToken } = tokensOf(await test.refresh(one.refreshToken));
    test.logLines.length = 0;
    expect((await test.post('/auth/login', JOHN, cookie(one.refreshToken, two.refreshToken))).statusCode).toBe(200);
    for (const token of [accessToken, two.accessToken]) expect((await test.get('/users/me', token)).statusCode).toBe(401);
    expect(linesOf(test, 'signed_in')).toMatchObject([{ replaced: [idOf(one.refreshToken), idOf(two.refreshToken)] }]);
    expect(linesOf(test, 'refresh_token_reused')).toEqual([]);
  });

  test('takes a reused token for what it is: its session ends as reuse, and that is logged and counted', async () => {
    const test = await startApp();
    const { refreshToken, userId } = await test.register();
    const { accessToken } = tokensOf(await test.refresh(refreshToken));
    test.clock.now += 31_000;
    test.logLines.length = 0;
    expect((await test.post('/auth/login', JOHN, cookie(refreshToken))).statusCode).toBe(200);
    expect((await test.get('/users/me', accessToken)).statusCode).toBe(401);
    expect(await stateOf(test, refreshToken)).toMatchObject({ revokedReason: 'refresh_token_reused' });
    expect(linesOf(test, 'refresh_token_reused')).toMatchObject([{ user_id: userId, session_id: idOf(refreshToken), level: 40 }]);
    expect(linesOf(test, 'signed_in')[0]).not.toHaveProperty('replaced');
  });

  test.each([
    ['with a wrong password', '/auth/login', { ...JOHN, password: 'wrong password' }, 401],
    ['with an address that is taken', '/auth/register', JANE, 409],
    ['with a weak password', '/auth/register', { username: 'jim', password: 'short' }, 422],
  ])('%s fails, ends nothing and clears no cookie', async (_name, url, body, status) => {
    const test = await startApp();
    await test.register('jane@example.com');
    const { refreshToken, accessToken } = await test.register();
    const stale = await test.login();
    await test.refresh(stale.refreshToken);
    test.clock.now += 31_000;
    const before = await stateOf(test, stale.refreshToken);
    const answer = await test.post(url, body, cookie(refreshToken, stale.refreshToken));
    expect([answer.statusCode, cookieOf(answer)]).toEqual([status, undefined]);
    expect((await test.get('/users/me', accessToken)).statusCode).toBe(200);
    expect(await stateOf(test, stale.refreshToken)).toEqual(before);
    expect(test.events()).not.toContain('refresh_token_reused');
  });

  test('that only asks for a mail signs nobody in, and ends nothing', async () => {
    const test = await startApp({ REQUIRE_EMAIL_VERIFICATION: 'true' });
    const { app, post } = test;
    await post('/auth/register', JOHN);
    const [john] = await app.store.users.findByIdentifier(JOHN.email, null);
    await app.store.transact([app.store.users.verifyEmail({ id: john!.id, email: JOHN.email, usernameKey: null, now: test.clock.now })]);
    const { refreshToken, accessToken } = await test.login();
    expect((await post('/auth/register', JANE, cookie(refreshToken))).statusCode).toBe(202);
    expect((await test.get('/users/me', accessToken)).statusCode).toBe(200);
    expect((await app.store.sessions.find(idOf(refreshToken)))?.session.revokedAt).toBeNull();
  });

  test('with a token in the body or header of another request than a refresh adopts and ends nothing', async () => {
    const test = await startApp();
    const { refreshToken, accessToken } = await test.register();
    await test.post('/auth/login', JOHN, { authorization: `Bearer ${refreshToken}` });
    expect((await test.get('/users/me', accessToken)).statusCode).toBe(200);
  });

  test('with a forged cookie ends nothing and looks nothing up', async () => {
    const test = await startApp();
    const { refreshToken, accessToken } = await test.register();
    const find = test.app.store.sessions.find;
    test.app.store.sessions.find = () => { throw new Error('a look-up'); };
    const forged = refreshToken.replace(/.{22}$/, 'A'.repeat(22));
    test.logLines.length = 0;
    expect((await test.post('/auth/login', JOHN, cookie(forged))).statusCode).toBe(200);
    expect(linesOf(test, 'refresh_token_refused')).toMatchObject([{ reason: 'forged', session_id: idOf(refreshToken) }]);
    expect(linesOf(test, 'signed_in')[0]).not.toHaveProperty('replaced');
    test.app.store.sessions.find = find;
    expect((await test.get('/users/me', accessToken)).statusCode).toBe(200);
  });

  test('with the cookie of a session that is over is a sign-in like any other', async () => {
    const test = await startApp();
    const { refreshToken } = await test.register();
    await test.post('/auth/logout', { refresh_token: refreshToken });
    const before = await stateOf(test, refreshToken);
    test.logLines.length = 0;
    expect((await test.post('/auth/login', JOHN, cookie(refreshToken))).statusCode).toBe(200);
    expect(await stateOf(test, refreshToken)).toEqual(before);
    expect(linesOf(test, 'signed_in')[0]).not.toHaveProperty('replaced');
  });

  test('in ten tabs at once leaves working sessions only, and logs the old one once', async () => {
    const test = await startApp();
    const { refreshToken, accessToken } = await test.register();
    test.logLines.length = 0;
    const answers = await Promise.all(Array.from({ length: 10 }, () => test.post('/auth/login', JOHN, cookie(refreshToken))));
    for (const answer of answers) expect((await test.get('/users/me', tokensOf(answer).accessToken)).statusCode).toBe(200);
    expect((await test.get('/users/me', accessToken)).statusCode).toBe(401);
    expect(linesOf(test, 'signed_in').flatMap(({ replaced }) => replaced ?? [])).toEqual([idOf(refreshToken)]);
  });

  test('that loses a race against a change of the password ends nothing', async () => {
    const test = await startApp();
    const { refreshToken, accessToken, userId } = await test.register();
    const { verify } = test.app.passwords;
    test.app.passwords.verify = async (password, hash, ...rest) => {
      const fits = await verify(password, hash, ...rest);
      test.app.passwords.verify = verify;
      const newHash = await test.app.passwords.hash('another passphrase');
      await test.app.store.transact([test.app.store.users.replacePasswordHash({ id: userId, oldHash: hash!, newHash, changedAt: 0 })]);
      return fits;
    };
    expect((await test.post('/auth/login', JOHN, cookie(refreshToken))).statusCode).toBe(401);
    expect((await test.get('/users/me', accessToken)).statusCode).toBe(200);
  });
});
