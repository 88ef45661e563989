import { describe, expect, test } from 'vitest';
import { bearer, cookieOf, PASSWORD, problemOf, startApp, tokensOf } from './support/app.ts';

const HERE = 'http://auth.example.com';
const APP = 'https://app.example.com';
const CREDENTIALS = { email: 'john@example.com', password: PASSWORD };
type Headers = Record<string, string>;

/** What a request says of where it comes from, and whether it may change anything. The server is http://auth.example.com and allows https://app.example.com. */
const matrix: [from: string, headers: Headers, passes: boolean][] = [
  ['no browser', {}, true],
  ['the same origin', { 'sec-fetch-site': 'same-origin', origin: HERE }, true],
  ['the same origin, which then moved to another host name', { 'sec-fetch-site': 'same-origin', origin: 'http://old.example.com' }, true],
  ['the address bar or an app of the user', { 'sec-fetch-site': 'none' }, true],
  ['an allowed origin on a sibling', { 'sec-fetch-site': 'same-site', origin: APP }, true],
  ['an allowed origin on another site', { 'sec-fetch-site': 'cross-site', origin: APP }, true],
  ['an old browser on the same origin', { origin: HERE }, true],
  ['an old browser on an allowed origin', { origin: APP }, true],
  ['another site', { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }, false],
  ['another site that hides its origin', { 'sec-fetch-site': 'cross-site' }, false],
  ['another site in a sandbox', { 'sec-fetch-site': 'cross-site', origin: 'null' }, false],
  ['another site that says our origin', { 'sec-fetch-site': 'cross-site', origin: HERE }, false],
  ['a sibling sub-domain', { 'sec-fetch-site': 'same-site', origin: 'http://blog.example.com' }, false],
  ['a sibling that hides its origin', { 'sec-fetch-site': 'same-site' }, false],
  ['a value that no browser sends', { 'sec-fetch-site': 'same-origin, cross-site' }, false],
  ['a value in another case', { 'sec-fetch-site': 'Same-Origin' }, false],
  ['an empty value', { 'sec-fetch-site': '' }, false],
  ['an old browser on another site', { origin: 'https://evil.example' }, false],
  ['an old browser in a sandbox', { origin: 'null' }, false],
  ['an old browser on our host by another scheme', { origin: 'https://auth.example.com' }, false],
  ['an old browser on our host at another port', { origin: `${HERE}:8080` }, false],
  ['an old browser on a sibling', { origin: 'http://blog.example.com' }, false],
];
const lookAlikes = [
  'https://app.example.com.evil.example', 'https://evil-app.example.com', 'https://xapp.example.com', 'https://app.example.comx', 'http://app.example.com', 'https://app.example.com:444',
  'https://app.example.com/', 'https://APP.example.com', 'https://app.example.com@evil.example', 'https://app.example.com, https://evil.example', 'https://example.com', 'null', '*', '',
];

const startHere = (env: Record<string, string> = {}) => startApp({ ALLOWED_ORIGINS: APP, ...env });

describe('a request that changes something', () => {
  test.each([true, false])('passes or is refused by what it says of its origin, and a refused one changes nothing (passes: %s)', async (passes) => {
    const { app, post, request } = await startHere();
    for (const [index, [from, headers, expected]] of matrix.entries()) {
      if (expected !== passes) continue;
      const at = { host: 'auth.example.com', ...headers };
      const credentials = { email: `john${index}@example.com`, password: PASSWORD };
      const register = await post('/auth/register', credentials, at);
      expect.soft([register.statusCode, cookieOf(register) !== undefined], from).toEqual(passes ? [201, true] : [403, false]);
      expect.soft(await app.store.users.findByIdentifier(credentials.email, null), from).toHaveLength(passes ? 1 : 0);
      if (!passes) await post('/auth/register', credentials);
      const { accessToken, refreshToken, userId } = tokensOf(await post('/auth/login', credentials));
      const other = tokensOf(await post('/auth/login', credentials));
      const cookie = `refresh_token=${refreshToken}`;
      const answers = [
        await request({ method: 'DELETE', url: `/auth/sessions/${other.refreshToken.split('.')[1]}`, headers: { ...at, ...bearer(accessToken) } }),
        await post('/auth/login', credentials, at), await post('/api/login/', credentials, at),
        await post('/auth/refresh', undefined, { ...at, cookie }), await post('/auth/logout', undefined, { ...at, cookie }),
      ];
      expect.soft(answers.map(({ statusCode }) => statusCode), from).toEqual(passes ? [204, 200, 200, 200, 200] : [403, 403, 403, 403, 403]);
      if (passes) continue;
      for (const answer of answers) expect.soft([problemOf(answer), answer.headers['set-cookie']], from).toEqual(['403 cross_site', undefined]);
      expect.soft((await app.store.sessions.list(userId, { createdAt: Number.MAX_SAFE_INTEGER, id: '' }, 100)).map(({ generation }) => generation), from).toEqual([0, 0, 0]);
    }
  });

  test('from a look-alike of an allowed origin is refused, and gets no CORS header', async () => {
    const { post } = await startHere();
    for (const origin of lookAlikes) {
      for (const site of [{}, { 'sec-fetch-site': 'cross-site' }]) {
        const answer = await post('/auth/login', CREDENTIALS, { host: 'auth.example.com', origin, ...site });
        expect.soft(problemOf(answer), origin).toBe('403 cross_site');
        expect.soft(Object.keys(answer.headers).filter((name) => name.startsWith('access-control-')), origin).toEqual([]);
      }
    }
  });

  test('is logged with the origin that it named, the first hundred characters of it', async () => {
    const { post, logLines } = await startHere();
    const refusals = () => logLines.splice(0).map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ event }) => event === 'cross_site_refused');
    await post('/auth/login', CREDENTIALS, { origin: 'https://evil.example' });
    expect(refusals()).toEqual([expect.objectContaining({ level: 40, origin: 'https://evil.example', ip: '127.0.0.1', request_id: expect.any(String) })]);
    await post('/auth/login', CREDENTIALS, { 'sec-fetch-site': 'cross-site' });
    expect(refusals()).toEqual([expect.not.objectContaining({ origin: expect.anything() })]);
    await post('/auth/login', CREDENTIALS, { origin: `https://${'a'.repeat(500)}.example` });
    expect(refusals()).toEqual([expect.objectContaining({ origin: `https://${'a'.repeat(92)}…` })]);
  });

  test('behind a proxy that ends TLS an old browser’s https origin is the same origin in production, and elsewhere only if the proxy is trusted', async () => {
    const headers = { host: 'auth.example.com', origin: 'https://auth.example.com', 'x-forwarded-proto': 'https' };
    const statusWith = async (env: Record<string, string>) => (await (await startApp(env)).post('/auth/login', CREDENTIALS, headers)).statusCode;
    expect(await statusWith({ NODE_ENV: 'production', ARGON2_MEMORY_KIB: '7168', ARGON2_TIME_COST: '5' })).toBe(401);
    expect(await statusWith({ TRUST_PROXY: '127.0.0.1' })).toBe(401);
    expect(await statusWith({})).toBe(403);
  });

  test('no one can pass as the same origin by a forwarded host, unless the proxy is trusted', async () => {
    const headers = { host: 'auth.example.com', origin: 'http://evil.example', 'x-forwarded-host': 'evil.example' };
    expect(problemOf(await (await startHere()).post('/auth/login', CREDENTIALS, headers))).toBe('403 cross_site');
    expect(problemOf(await (await startHere({ TRUST_PROXY: '10.0.0.1' })).post('/auth/login', CREDENTIALS, headers))).toBe('403 cross_site');
  });

  test('a page elsewhere may still be linked from: GET is not refused', async () => {
    const { get, request } = await startHere();
    expect((await get('/health')).statusCode).toBe(200);
    expect((await request({ method: 'GET', url: '/health', headers: { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' } })).statusCode).toBe(200);
  });
});

test('nothing changes by GET or HEAD: each action answers 405, names its method, and the session lives on', async () => {
  const { request, register, refresh } = await startHere();
  const { accessToken, refreshToken } = await register();
  for (const url of ['/auth/register', '/auth/login', '/auth/refresh', '/auth/logout', '/auth/change-password', '/logout']) {
    for (const method of ['GET', 'HEAD'] as const) {
      const answer = await request({ method, url, headers: { cookie: `refresh_token=${refreshToken}`, ...bearer(accessToken) } });
      expect([answer.statusCode, answer.headers.allow, answer.headers['set-cookie']]).toEqual([405, 'POST', undefined]);
    }
  }
  expect((await refresh(refreshToken)).statusCode).toBe(200);
});

describe('CORS', () => {
  const preflight = (origin: string) => ({
    method: 'OPTIONS' as const, url: '/auth/refresh', headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' },
  });

  test('an allowed origin may send credentials, and reads every answer, errors too', async () => {
    const { request, post } = await startHere();
    const granted = { 'access-control-allow-origin': APP, 'access-control-allow-credentials': 'true', vary: 'Origin' };
    const allowed = await request(preflight(APP));
    expect([allowed.statusCode, allowed.body]).toEqual([204, '']);
    expect(allowed.headers).toMatchObject({ ...granted, 'access-control-allow-methods': 'GET, POST, PATCH, DELETE', 'access-control-allow-headers': 'authorization, content-type', 'access-control-max-age': '600' });
    for (const answer of [await post('/auth/login', CREDENTIALS, { origin: APP }), await post('/auth/login', {}, { origin: APP }), await post('/nowhere', {}, { origin: APP })]) {
      expect(answer.statusCode).toBeGreaterThanOrEqual(400);
      expect(answer.headers).toMatchObject({ ...granted, 'access-control-expose-headers': 'retry-after, ratelimit-limit, ratelimit-remaining, ratelimit-reset, x-request-id' });
    }
  });

  test('an OPTIONS of an allowed origin that is no preflight has no body of its own kind', async () => {
    const answer = await (await startHere()).request({ method: 'OPTIONS', url: '/auth/refresh', headers: { origin: APP } });
    expect([answer.statusCode, answer.body]).toEqual([204, '']);
  });

  test('no other origin gets a CORS header, on a preflight or an answer, and nothing is reflected', async () => {
    const { request } = await startHere();
    for (const origin of ['https://evil.example', 'http://blog.example.com', ...lookAlikes]) {
      for (const options of [preflight(origin), { method: 'GET' as const, url: '/health', headers: { origin } }]) {
        const { headers, body } = await request(options);
        expect.soft(Object.keys(headers).filter((name) => name.startsWith('access-control-')), origin).toEqual([]);
        expect.soft(headers.vary, origin).toBe('Origin');
        if (origin.includes('evil')) expect.soft(body, origin).not.toContain('evil');
      }
    }
  });

  test('without ALLOWED_ORIGINS nobody does', async () => {
    const { headers } = await (await startApp()).request(preflight(APP));
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control-'))).toEqual([]);
  });
});
