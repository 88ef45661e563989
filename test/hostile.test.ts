import { describe, expect, test } from 'vitest';
import { bearer, PASSWORD, problemOf, startApp } from './support/app.ts';

const JOHN = { email: 'john@example.com', password: PASSWORD };
const SQL = ["' OR '1'='1", "'; DROP TABLE users; --", '" UNION SELECT password_hash FROM users --'];

describe('text of a client', () => {
  test('comes back in an answer as the same text: quotes, backslashes and U+2028 (ASVS 1.2.3)', async () => {
    const { post, get } = await startApp();
    const agent = 'a"b\\c</script>\u2028\u0085\'d';
    const { access_token: accessToken } = (await post('/auth/register', JOHN, { 'user-agent': agent })).json<{ access_token: string }>();
    const { body } = await get('/auth/sessions', accessToken);
    const { sessions } = JSON.parse(body) as { sessions: object[] };
    expect(sessions).toEqual([expect.objectContaining({ device: agent })]);
    expect(body).toContain('a\\"b\\\\c');
  });

  test.each(SQL)('is no SQL in any field: %s (ASVS 1.2.4)', async (payload) => {
    const { app, post, get, request, register } = await startApp();
    const { accessToken, refreshToken, userId } = await register();
    const before = await app.store.users.findByIdentifier(JOHN.email, null);
    const bodies: [string, object][] = [
      ['/auth/login', { email: payload, password: payload }], ['/auth/login', { username: payload, password: PASSWORD }],
      ['/auth/login', { ...JOHN, password: payload }], ['/auth/register', { username: payload, password: PASSWORD }],
      ['/auth/refresh', { refresh_token: payload }], ['/auth/logout', { refresh_token: payload }], ['/auth/verify-email', { token: payload }],
      ['/auth/forgot-password', { email: payload }], ['/auth/change-password', { token: payload, new_password: 'another long passphrase' }],
    ];
    for (const [url, body] of bodies) {
      const { statusCode, body: answer } = await post(url, body);
      expect([url, statusCode < 500, answer.includes('access_token')]).toEqual([url, true, false]);
    }
    const id = encodeURIComponent(payload);
    expect((await request({ method: 'DELETE', url: `/auth/sessions/${id}`, headers: bearer(accessToken) })).statusCode).toBe(422);
    for (const query of [`after=${id}`, `limit=${id}`]) expect((await get(`/auth/sessions?${query}`, accessToken)).statusCode).toBeLessThan(500);
    await post('/auth/login', JOHN, { 'user-agent': payload, cookie: `refresh_token=${id}; device=${id}` });
    expect(await app.store.users.findByIdentifier(JOHN.email, null)).toEqual(before);
    expect((await get('/users/me', accessToken)).json()).toMatchObject({ id: userId });
    expect((await post('/auth/refresh', { refresh_token: refreshToken })).statusCode).toBe(200);
  });

  test('of 16 KiB that makes patterns backtrack costs no more than a refusal (ASVS 1.3.12)', async () => {
    const { post, get, request } = await startApp();
    const texts = ['a.', 'a@b.', '1', 'a-', '@', ' ', '\u0130', '.'].map((part) => part.repeat(Math.floor(5000 / part.length)));
    const begun = process.cpuUsage();
    for (const text of texts) {
      for (const body of [{ email: text, password: PASSWORD }, { username: text, password: PASSWORD }, { ...JOHN, password: text }]) {
        for (const url of ['/auth/register', '/auth/login']) expect((await post(url, body)).statusCode).toBeGreaterThanOrEqual(400);
      }
      const ascii = encodeURIComponent(text).slice(0, 7000);
      await get('/users/me', ascii);
      await request({ method: 'GET', url: `/auth/sessions/${ascii}`, headers: { cookie: ascii, authorization: `Bearer ${ascii}`, 'if-none-match': ascii } });
    }
    expect(process.cpuUsage(begun).user / 1e6).toBeLessThan(10); // seconds of processor time: one that backtracks takes hours
  });
});

describe('a request for a page or a file', () => {
  test('is no way to what belongs to a user: /users/me with an ending is nothing, and is never stored (ASVS 14.2.5)', async () => {
    const { register, get } = await startApp();
    const { accessToken } = await register();
    for (const url of ['/users/me/x.css', '/users/me;x.css', '/users/me.css', '/users/me%2fx.css', '/users/me/.css', '/profile/a.js', '/auth/sessions/list.png']) {
      const { statusCode, headers, body } = await get(url, accessToken);
      expect.soft([url, statusCode >= 404 && statusCode <= 405, headers['cache-control']]).toEqual([url, true, 'no-store']);
      expect.soft(body).not.toContain('john');
    }
  });

  test('finds no list of a folder (ASVS 13.4.3)', async () => {
    const { get } = await startApp();
    for (const url of ['/docs/static', '/docs/static/', '/src/', '/data/', '/.well-known/', '/redoc/']) {
      const { body } = await get(url);
      expect(body, url).not.toMatch(/swagger-ui-bundle\.js.*swagger-ui\.css.*logo\.svg|Index of|keyturn\.db/s);
    }
  });

  test('is answered with a script that is the same bytes for everyone (ASVS 3.5.7)', async () => {
    const { register, request } = await startApp();
    const { accessToken, refreshToken } = await register();
    for (const url of ['/client.js', '/demo/demo.js', '/docs/static/swagger-initializer.js', '/docs/static/swagger-ui-bundle.js', '/redoc/redoc.js']) {
      const plain = await request({ method: 'GET', url });
      const signedIn = await request({ method: 'GET', url, headers: { ...bearer(accessToken), cookie: `refresh_token=${refreshToken}` } });
      expect([url, signedIn.statusCode, signedIn.rawPayload.equals(plain.rawPayload)]).toEqual([url, 200, true]);
    }
  });
});

describe('a parameter that other servers know', () => {
  test('?callback= makes no script of an answer (ASVS 3.5.6)', async () => {
    const { register, get } = await startApp();
    const { accessToken } = await register();
    const plain = await get('/users/me', accessToken);
    for (const name of ['callback', 'jsonp', 'cb']) {
      const { body, headers } = await get(`/users/me?${name}=alert`, accessToken);
      expect([body, headers['content-type']]).toEqual([plain.body, plain.headers['content-type']]);
    }
  });

  test('next= and redirect_uri= lead nowhere (ASVS 3.7.2)', async () => {
    const { post, get, register } = await startApp();
    const { refreshToken } = await register();
    for (const name of ['next', 'redirect_uri', 'return_to', 'url']) {
      const query = `${name}=${encodeURIComponent('https://evil.example/')}`;
      const answers = [
        await post(`/auth/login?${query}`, JOHN), await post(`/auth/logout?${query}`, { refresh_token: refreshToken }),
        await get(`/?${query}`), await get(`/docs?${query}`), await get(`/verify-email?${query}`), await get(`/nowhere?${query}`),
      ];
      for (const { headers } of answers) expect(headers.location ?? '').not.toContain('evil');
    }
  });
});

describe('what an attack on access leaves in the log (ASVS 16.3.2)', () => {
  test('each refused access token, and each session of another user, is told by the code in the line of its request', async () => {
    const { register, get, request, logLines } = await startApp();
    const john = await register();
    const eve = await register('eve@example.com');
    const id = john.refreshToken.split('.')[1]!;
    logLines.length = 0;
    expect(problemOf(await get('/users/me', `${john.accessToken}x`))).toBe('401 access_token_invalid');
    expect(problemOf(await request({ method: 'DELETE', url: `/auth/sessions/${id}`, headers: bearer(eve.accessToken) }))).toBe('404 session_not_found');
    const lines = logLines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ event }) => event === 'request');
    expect(lines).toEqual([
      expect.objectContaining({ route: '/users/me', status: 401, code: 'access_token_invalid', ip: '127.0.0.1' }),
      expect.objectContaining({ route: '/auth/sessions/:id', status: 404, code: 'session_not_found', user_id: eve.userId }),
    ]);
  });
});

test('signing out and deleting the account clear what the browser keeps of them (ASVS 14.3.1)', async () => {
  const { register, post, request } = await startApp();
  const { refreshToken } = await register();
  const signedOut = await post('/auth/logout', { refresh_token: refreshToken });
  const { accessToken } = await register('jane@example.com');
  const deleted = await request({ method: 'DELETE', url: '/users/me', headers: bearer(accessToken), payload: { password: PASSWORD } });
  expect([signedOut.statusCode, deleted.statusCode]).toEqual([200, 204]);
  for (const { headers } of [signedOut, deleted]) expect(headers['clear-site-data']).toBe('"cache"');
});
