import { describe, expect, test } from 'vitest';
import { DatabaseAway } from '../src/store/db.ts';
import { anyone, cookieOf, PASSWORD, problemOf, startApp, type TestApp, tokensOf } from './support/app.ts';

const CREDENTIALS = { email: 'john@example.com', password: PASSWORD };
const PRODUCTION = { NODE_ENV: 'production', ARGON2_MEMORY_KIB: '7168', ARGON2_TIME_COST: '5' };
const BROWSER = { 'sec-fetch-site': 'same-origin' };
const HTTPS_BY_PROXY = { 'x-forwarded-proto': 'https', 'x-forwarded-for': '203.0.113.9' };

const signUp = ({ post }: TestApp, headers: Record<string, string> = {}) => post('/auth/register', CREDENTIALS, headers);
const setCookie = async (env: Record<string, string>, headers: Record<string, string> = {}) => {
  const lines = (await signUp(await startApp(env), headers)).headers['set-cookie'] as string[];
  expect(lines).toHaveLength(2);
  const [line] = lines.filter((each) => each.includes('refresh_token='));
  return line!.replace(/=rt1\.[\w-]{22}\.0\.[\w-]{43}\.[\w-]{22};/, '=TOKEN;');
};

describe('production that is reached over plain http', () => {
  const signIn = (app: TestApp, remoteAddress: string, headers: Record<string, string> = {}) =>
    app.request({ method: 'POST', url: '/auth/register', payload: { ...CREDENTIALS, email: anyone() }, remoteAddress, headers });
  const warningsIn = ({ logLines }: TestApp) => logLines.map((line) => JSON.parse(line) as { event?: string; level: number; ip?: string })
    .filter(({ event }) => event === 'plain_http').map(({ level, ip }) => [level, ip]);

  test('from another machine says so once in the log (ASVS 12.2.1)', async () => {
    const app = await startApp(PRODUCTION);
    for (let time = 0; time < 2; time += 1) expect((await signIn(app, '203.0.113.9')).statusCode).toBe(201);
    expect(warningsIn(app)).toEqual([[40, '203.0.113.9']]);
  });

  test.each<[string, Record<string, string>, string, Record<string, string>]>([
    ['from this machine', PRODUCTION, '127.0.0.1', {}],
    ['from this machine by IPv6', PRODUCTION, '::1', {}],
    ['over https, as a trusted proxy says', { ...PRODUCTION, TRUST_PROXY: '10.0.0.1' }, '10.0.0.1', HTTPS_BY_PROXY],
    ['outside production', {}, '203.0.113.9', {}],
  ])('%s says nothing', async (_name, env, address, headers) => {
    const app = await startApp(env);
    expect((await signIn(app, address, headers)).statusCode).toBe(201);
    expect(warningsIn(app)).toEqual([]);
  });
});

describe('the refresh cookie', () => {
  test.each<[string, Record<string, string>, Record<string, string>, string]>([
    ['on plain http outside production', {}, {}, 'refresh_token=TOKEN; Max-Age=604800; Path=/; HttpOnly; SameSite=Strict'],
    ['in production', PRODUCTION, {}, '__Host-refresh_token=TOKEN; Max-Age=604800; Path=/; HttpOnly; Secure; SameSite=Strict'],
    ['on https behind a trusted proxy', { TRUST_PROXY: '127.0.0.1' }, HTTPS_BY_PROXY, '__Host-refresh_token=TOKEN; Max-Age=604800; Path=/; HttpOnly; Secure; SameSite=Strict'],
    ['with a forwarded protocol of a stranger', {}, HTTPS_BY_PROXY, 'refresh_token=TOKEN; Max-Age=604800; Path=/; HttpOnly; SameSite=Strict'],
    ['with a forwarded protocol past another proxy', { TRUST_PROXY: '10.0.0.1' }, HTTPS_BY_PROXY, 'refresh_token=TOKEN; Max-Age=604800; Path=/; HttpOnly; SameSite=Strict'],
    ['COOKIE_SAMESITE=none', { COOKIE_SAMESITE: 'none' }, {}, '__Host-refresh_token=TOKEN; Max-Age=604800; Path=/; HttpOnly; Secure; Partitioned; SameSite=None'],
    ['COOKIE_SAMESITE=lax', { COOKIE_SAMESITE: 'lax' }, {}, 'refresh_token=TOKEN; Max-Age=604800; Path=/; HttpOnly; SameSite=Lax'],
    ['COOKIE_SECURE=always', { COOKIE_SECURE: 'always' }, {}, '__Host-refresh_token=TOKEN; Max-Age=604800; Path=/; HttpOnly; Secure; SameSite=Strict'],
    ['COOKIE_SECURE=never', { TRUST_PROXY: '127.0.0.1', COOKIE_SECURE: 'never' }, HTTPS_BY_PROXY, 'refresh_token=TOKEN; Max-Age=604800; Path=/; HttpOnly; SameSite=Strict'],
  ])('%s has this name and these attributes, no Domain, and no other cookie beside it but that of the device', async (_name, env, headers, expected) => {
    expect(await setCookie(env, headers)).toBe(expected);
  });

  test('is cleared with the same name and attributes, for else the browser keeps it', async () => {
    for (const [env, expected] of [[{}, 'refresh_token=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Strict'],
      [{ COOKIE_SAMESITE: 'none' }, '__Host-refresh_token=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; Partitioned; SameSite=None']] as const) {
      const testApp = await startApp(env);
      const { name, value } = cookieOf(await signUp(testApp))!;
      const answer = await testApp.post('/auth/logout', undefined, { cookie: `${name}=${value}` });
      expect((answer.headers['set-cookie'] as string).replace(/Max-Age=0; /, '')).toBe(expected);
    }
  });

  test('is far below the 4096 bytes that browsers keep, and its warning is said once', async () => {
    const testApp = await startApp();
    const { name, value } = cookieOf(await signUp(testApp))!;
    await testApp.login();
    expect(name.length + value.length).toBeLessThan(200);
    expect(testApp.events().filter((event) => event === 'insecure_cookie')).toHaveLength(1);
  });

  test('under the name of plain http counts for nothing where the cookie must be Secure', async () => {
    const { post } = await startApp(PRODUCTION);
    const { refreshToken } = tokensOf(await post('/auth/register', CREDENTIALS));
    for (const name of ['refresh_token', '__host-refresh_token', '__Host-refresh_tokens', '__Secure-refresh_token']) {
      expect(problemOf(await post('/auth/refresh', undefined, { cookie: `${name}=${refreshToken}` }))).toBe('401 refresh_token_missing');
    }
    expect((await post('/auth/refresh', undefined, { cookie: `__Host-refresh_token=${refreshToken}` })).statusCode).toBe(200);
  });
});

describe('several cookies of one name', () => {
  test('are each tried, in whatever order, and the good one wins and is renewed', async () => {
    const { register, login, post } = await startApp();
    await register();
    for (const order of [0, 1, 2]) {
      const { refreshToken } = await login();
      const values = ['rubbish', `rt1.${'A'.repeat(22)}.9.${'A'.repeat(43)}`];
      values.splice(order, 0, refreshToken);
      const answer = await post('/auth/refresh', undefined, { cookie: values.map((value) => `refresh_token=${value}`).join('; ') });
      expect(answer.statusCode).toBe(200);
      expect(cookieOf(answer)?.value.split('.').slice(0, 3)).toEqual([...refreshToken.split('.').slice(0, 2), '1']);
    }
  });

  test('are tried newest generation first: a leftover of long ago does not end the session beside its heir', async () => {
    const { clock, register, refresh, post } = await startApp();
    const { refreshToken: leftover } = await register();
    const heir = cookieOf(await refresh(leftover))!.value;
    clock.now += 31_000;
    const answer = await post('/auth/refresh', undefined, { cookie: `refresh_token=${leftover}; refresh_token=${heir}` });
    expect([answer.statusCode, cookieOf(answer)?.value.split('.')[2]]).toEqual([200, '2']);
  });

  test('and other cookies, with odd characters, do no harm', async () => {
    const { register, post } = await startApp();
    const { refreshToken } = await register();
    expect((await post('/auth/refresh', undefined, { cookie: `a=%E0%A4%A; =; ;refresh_token; xrefresh_token=1;refresh_token=${refreshToken};__proto__=x` })).statusCode).toBe(200);
  });

  test('never hide the real one, whatever was invented: not at the refresh, and not at the sign-out', async () => {
    const { register, post, get } = await startApp();
    const { refreshToken, accessToken } = await register();
    const invented = Array.from({ length: 60 }, (_, index) => `rt1.${'A'.repeat(22)}.${9_999_999_900 + index}.${'A'.repeat(43)}.${'A'.repeat(22)}`);
    const cookie = [...invented, refreshToken].map((value) => `refresh_token=${value}`).join('; ');
    const answer = await post('/auth/refresh', undefined, { cookie });
    expect([answer.statusCode, cookieOf(answer)?.value.split('.')[2]]).toEqual([200, '1']);
    expect((await post('/auth/logout', undefined, { cookie })).statusCode).toBe(200);
    expect((await get('/users/me', accessToken)).statusCode).toBe(401);
  });

  test('cost no look-up when they are invented, and at most eight when they are genuine', async () => {
    const { app, register, login, post } = await startApp();
    const tokens = [(await register()).refreshToken];
    while (tokens.length < 10) tokens.push((await login()).refreshToken);
    for (const token of tokens) await post('/auth/logout', { refresh_token: token });
    let asked = 0;
    const { rotate } = app.store.sessions;
    app.store.sessions.rotate = (rotation) => { asked += 1; return rotate(rotation); };
    const cookie = (values: string[]) => ({ cookie: values.map((value) => `refresh_token=${value}`).join('; ') });
    const invented = tokens.map((token) => token.replace(/.{22}$/, 'A'.repeat(22)));
    expect(problemOf(await post('/auth/refresh', undefined, cookie(invented)))).toBe('401 refresh_token_invalid');
    expect(asked).toBe(0);
    expect(problemOf(await post('/auth/refresh', undefined, cookie(tokens)))).toBe('401 session_ended');
    expect(asked).toBe(8);
  });
});

describe('the refresh token in the body', () => {
  test.each([
    ['auto', {}, true], ['auto', BROWSER, false], ['auto', { origin: 'http://localhost:80' }, false], ['auto', { 'sec-fetch-site': 'none' }, false], ['never', {}, false], ['never', BROWSER, false], ['always', BROWSER, true],
  ])('REFRESH_TOKEN_IN_BODY=%s, sent with %j: %s', async (mode, headers, expected) => {
    const { post } = await startApp({ REFRESH_TOKEN_IN_BODY: mode });
    const registered = await post('/auth/register', CREDENTIALS, headers);
    const signedIn = await post('/auth/login', CREDENTIALS, headers);
    const refreshed = await post('/auth/refresh', { refresh_token: cookieOf(signedIn)!.value }, headers);
    for (const answer of [registered, signedIn, refreshed]) {
      expect(answer.statusCode).toBeLessThan(300);
      expect(cookieOf(answer)?.value).toMatch(/^rt1\./);
      expect('refresh_token' in answer.json<object>()).toBe(expected);
      if (!expected) expect(answer.body).not.toContain('rt1.');
    }
  });

  test('a token that came by cookie is never repeated in the body, whoever asks', async () => {
    const { register, post } = await startApp();
    const { refreshToken } = await register();
    const answer = await post('/auth/refresh', undefined, { cookie: `refresh_token=${refreshToken}` });
    expect(answer.statusCode).toBe(200);
    expect(answer.body).not.toContain('rt1.');
  });
});

describe('an answer that fails', () => {
  test('leaves the cookie alone: unknown, malformed, missing, cross-site, unreadable, overlarge, broken, too many', async () => {
    const { app, register, post, request } = await startApp({ RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_TOKENS_PER_MINUTE: '8' });
    const { refreshToken } = await register();
    const cookie = `refresh_token=${refreshToken}`;
    const forged = `refresh_token=${refreshToken.replace(/.{22}$/, 'A'.repeat(22))}`;
    const refreshWith = (headers: Record<string, string>, payload?: object) => post('/auth/refresh', payload, headers);
    const answers = [
      await refreshWith({ cookie: forged }), await refreshWith({ cookie: 'refresh_token=rubbish' }), await refreshWith({}),
      await refreshWith({ cookie, 'sec-fetch-site': 'cross-site' }), await refreshWith({ cookie }, { unknown: 'field' }),
      await request({ method: 'POST', url: '/auth/refresh', headers: { cookie, 'content-type': 'application/json' }, payload: '{' }),
      await refreshWith({ cookie }, { refresh_token: 'a'.repeat(17_000) }), await post('/auth/login', { ...CREDENTIALS, password: 'wrong' }, { cookie }),
    ];
    app.store.sessions.rotate = () => { throw new DatabaseAway('gone'); };
    answers.push(await refreshWith({ cookie }), await refreshWith({ cookie }));
    expect(answers.map(({ statusCode }) => statusCode)).toEqual([401, 401, 401, 403, 422, 400, 413, 401, 503, 429]);
    for (const answer of answers) expect(answer.headers['set-cookie']).toBeUndefined();
  });

  test('clears it when its session is known to be dead: signed out, or ended because a token was used again', async () => {
    const { clock, register, login, post, refresh } = await startApp();
    const first = await register();
    await post('/auth/logout', { refresh_token: first.refreshToken });
    const second = await login();
    await refresh(second.refreshToken);
    clock.now += 31_000;
    for (const [{ refreshToken }, problem] of [[first, '401 session_ended'], [second, '401 refresh_token_reused']] as const) {
      const answer = await post('/auth/refresh', undefined, { cookie: `refresh_token=${refreshToken}` });
      expect([problemOf(answer), cookieOf(answer)?.value]).toEqual([problem, '']);
    }
  });

  test('does not clear it when the dead token came in the body: the cookie is another’s', async () => {
    const { register, login, post } = await startApp();
    const dead = await register();
    await post('/auth/logout', { refresh_token: dead.refreshToken });
    const { refreshToken } = await login();
    const answer = await post('/auth/refresh', { refresh_token: dead.refreshToken }, { cookie: `refresh_token=${refreshToken}` });
    expect([problemOf(answer), answer.headers['set-cookie']]).toEqual(['401 session_ended', undefined]);
  });

  test('does not clear it when of two cookies one is dead and one lives', async () => {
    const { register, login, post } = await startApp();
    const dead = await register();
    await post('/auth/logout', { refresh_token: dead.refreshToken });
    const { refreshToken } = await login();
    for (const order of [[dead.refreshToken, refreshToken], [refreshToken, dead.refreshToken]]) {
      const answer = await post('/auth/refresh', undefined, { cookie: order.map((value) => `refresh_token=${value}`).join('; ') });
      expect([answer.statusCode, cookieOf(answer)?.value]).toEqual([200, expect.stringMatching(/^rt1\./)]);
    }
  });
});
