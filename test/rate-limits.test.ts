import { describe, expect, test } from 'vitest';
import { PASSWORD, problemOf, startApp, type TestApp } from './support/app.ts';

const LIMITS = { RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '2', RATE_LIMIT_TOKENS_PER_MINUTE: '3', RATE_LIMIT_PER_MINUTE: '4' };
type Method = 'OPTIONS' | 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD';

/** The statuses of so many requests. */
async function ask({ request }: TestApp, times: number, method: Method, url: string, from = '192.0.2.1', headers: Record<string, string> = {}) {
  const statuses: number[] = [];
  for (let time = 0; time < times; time += 1) statuses.push((await request({ method, url, remoteAddress: from, headers })).statusCode);
  return statuses;
}

test('over the limit the answer is 429, says when to come back, and does nothing', async () => {
  const { app, post, events } = await startApp(LIMITS);
  const john = { email: 'john@example.com', password: PASSWORD };
  for (const left of ['1', '0']) {
    const { headers } = await post('/auth/login', john);
    expect(headers).toMatchObject({ 'ratelimit-limit': '2', 'ratelimit-remaining': left, 'ratelimit-reset': expect.stringMatching(/^(60|59)$/) });
    expect(headers).not.toHaveProperty('retry-after');
  }
  const register = ['/auth/register', '/auth/register', '/auth/register'].map((url, index) => post(url, { ...john, email: `john${index}@example.com` }));
  const [, , third] = await Promise.all(register);
  for (const answer of [await post('/auth/login', john), third!]) {
    expect(answer.json()).toEqual({
      type: 'urn:keyturn:problem:rate_limited', title: 'Too Many Requests', status: 429, code: 'rate_limited',
      detail: expect.stringMatching(/^Too many requests; try again in (60|59) s$/), request_id: answer.headers['x-request-id'],
    });
    expect(answer.headers).toMatchObject({ 'retry-after': expect.stringMatching(/^(60|59)$/), 'ratelimit-remaining': '0', 'content-type': 'application/problem+json; charset=utf-8' });
    expect(answer.headers).not.toHaveProperty('set-cookie');
  }
  expect(await app.store.users.findByIdentifier('john2@example.com', null)).toEqual([]);
  expect(events()).toContain('rate_limited');
});

describe('every route that takes a secret has a limit of its own', () => {
  test.each<[Method, string, number, number]>([
    ['POST', '/auth/register', 2, 415], ['POST', '/auth/login', 2, 415], ['POST', '/auth/change-password', 2, 422],
    ['POST', '/auth/forgot-password', 2, 415], ['POST', '/auth/verify-email', 2, 415], ['POST', '/auth/verify-email/resend', 2, 401], ['PATCH', '/users/me', 2, 401], ['DELETE', '/users/me', 2, 401],
    ['POST', '/auth/refresh', 3, 401], ['POST', '/auth/logout', 3, 401], ['GET', '/auth/sessions', 3, 401], ['DELETE', '/auth/sessions/x', 3, 401],
  ])('%s %s: %i a minute and address', async (method, url, limit, status) => {
    const testApp = await startApp(LIMITS);
    const statuses = await ask(testApp, limit + 2, method, url, '192.0.2.1', status === 415 ? { 'content-type': 'text/plain', 'content-length': '0' } : {});
    expect(statuses).toEqual([...Array.from({ length: limit }, () => status), 429, 429]);
    expect(await ask(testApp, 4, 'GET', '/users/me')).toEqual([401, 401, 401, 401]);
    expect(await ask(testApp, 1, method, url, '192.0.2.2')).not.toContain(429);
  });

  test('and its other paths and spellings share the counter', async () => {
    const testApp = await startApp({ ...LIMITS, RATE_LIMIT_CREDENTIALS_PER_MINUTE: '6', RATE_LIMIT_TOKENS_PER_MINUTE: '8' });
    for (const url of ['/auth/login', '/auth/login/', '/login', '/login/', '/api/login', '/api/login/?a=b']) expect(await ask(testApp, 1, 'POST', url)).not.toContain(429);
    for (const url of ['/auth/login', '/login', '/api/login', '/login?x=1']) expect(await ask(testApp, 1, 'POST', url)).toEqual([429]);
    for (const url of ['/auth/refresh', '/refresh', '/refresh/', '/api/refresh', '/refresh-token', '/refresh-token/', '/api/refresh-token', '/api/refresh-token/']) expect(await ask(testApp, 1, 'POST', url)).toEqual([401]);
    for (const url of ['/auth/refresh', '/refresh', '/api/refresh-token']) expect(await ask(testApp, 1, 'POST', url)).toEqual([429]);
  });
});

describe('all other routes share one limit', () => {
  test('unknown paths and wrong methods count in it, with or without a body', async () => {
    const testApp = await startApp(LIMITS);
    expect(await ask(testApp, 2, 'GET', '/nowhere')).toEqual([404, 404]);
    expect(await ask(testApp, 1, 'PUT', '/auth/login')).toEqual([405]);
    expect(await ask(testApp, 1, 'HEAD', '/users/me')).toEqual([401]);
    for (const [method, url] of [['GET', '/nowhere'], ['POST', '/nowhere/else'], ['PUT', '/auth/login'], ['GET', '/users/me'], ['GET', '/profile'], ['GET', '/.well-known/jwks.json'], ['GET', '/openapi.json']] as const) {
      expect([url, ...await ask(testApp, 1, method, url)]).toEqual([url, 429]);
    }
    expect(await ask(testApp, 1, 'POST', '/auth/refresh')).toEqual([401]);
  });

  test('preflights, cross-site requests and paths that cannot be read count in it, too', async () => {
    const origin = 'https://app.example.com';
    const kinds: [Method, string, Record<string, string>, number][] = [
      ['OPTIONS', '/auth/login', { origin, 'access-control-request-method': 'POST' }, 204],
      ['OPTIONS', '/auth/login', { origin: 'https://evil.example', 'access-control-request-method': 'POST' }, 404],
      ['POST', '/nowhere', { 'sec-fetch-site': 'cross-site' }, 404],
      ['GET', '/%', {}, 400],
      ['GET', `/auth/sessions/${'a'.repeat(200)}`, {}, 404],
    ];
    for (const [method, url, headers, status] of kinds) {
      const testApp = await startApp({ ...LIMITS, ALLOWED_ORIGINS: origin });
      expect(await ask(testApp, 5, method, url, '192.0.2.1', headers), `${method} ${url}`).toEqual([status, status, status, status, 429]);
      expect(await ask(testApp, 1, 'GET', '/nowhere')).toEqual([429]);
      expect(await ask(testApp, 1, method, url, '192.0.2.2', headers)).toEqual([status]);
    }
  });

  test('a cross-site request counts in the limit of its route, and is logged no more often than that', async () => {
    const testApp = await startApp(LIMITS);
    expect(await ask(testApp, 4, 'POST', '/auth/login', '192.0.2.1', { 'sec-fetch-site': 'cross-site' })).toEqual([403, 403, 429, 429]);
    expect(testApp.events().filter((event) => event === 'cross_site_refused')).toHaveLength(2);
  });

  test('a page of an allowed origin can read that its preflight and its request were over the limit', async () => {
    const origin = 'https://app.example.com';
    const testApp = await startApp({ ...LIMITS, ALLOWED_ORIGINS: origin });
    await ask(testApp, 4, 'GET', '/nowhere');
    const { statusCode, headers } = await testApp.request({ method: 'GET', url: '/users/me', remoteAddress: '192.0.2.1', headers: { origin } });
    expect([statusCode, headers['access-control-allow-origin']]).toEqual([429, origin]);
  });

  test('health never counts and is never refused', async () => {
    const testApp = await startApp(LIMITS);
    await ask(testApp, 5, 'GET', '/nowhere');
    for (const url of ['/health', '/health/live', '/health/ready']) expect(await ask(testApp, 5, 'GET', url)).toEqual([200, 200, 200, 200, 200]);
  });
});

describe('an address', () => {
  test('of IPv6 is its /64, for a household has that many; of IPv4 it is one, however it is written', async () => {
    const testApp = await startApp(LIMITS);
    expect(await ask(testApp, 2, 'GET', '/nowhere', '2001:db8::1')).toEqual([404, 404]);
    expect(await ask(testApp, 2, 'GET', '/nowhere', '2001:db8:0:0:ffff:ffff:ffff:ffff')).toEqual([404, 404]);
    expect(await ask(testApp, 1, 'GET', '/nowhere', '2001:db8::3')).toEqual([429]);
    expect(await ask(testApp, 1, 'GET', '/nowhere', '2001:db8:0:1::1')).toEqual([404]);
    expect(await ask(testApp, 4, 'GET', '/nowhere', '192.0.2.1')).not.toContain(429);
    expect(await ask(testApp, 1, 'GET', '/nowhere', '::ffff:192.0.2.1')).toEqual([429]);
  });

  test('is not what a stranger writes into X-Forwarded-For', async () => {
    const testApp = await startApp(LIMITS);
    for (let last = 1; last <= 4; last += 1) await ask(testApp, 1, 'GET', '/nowhere', '192.0.2.1', { 'x-forwarded-for': `203.0.113.${last}`, 'x-real-ip': `203.0.113.${last}`, forwarded: `for=203.0.113.${last}` });
    expect(await ask(testApp, 1, 'GET', '/nowhere', '192.0.2.1', { 'x-forwarded-for': '203.0.113.9' })).toEqual([429]);
  });

  test('is what a trusted proxy writes, to the last address before it; a tab or an invented hop makes no new one', async () => {
    const testApp = await startApp({ ...LIMITS, TRUST_PROXY: '192.0.2.1' });
    for (const value of ['203.0.113.9', '1.1.1.1, 203.0.113.9', '2.2.2.2,203.0.113.9', '3.3.3.3,\t203.0.113.9']) await ask(testApp, 1, 'GET', '/nowhere', '192.0.2.1', { 'x-forwarded-for': value });
    expect(await ask(testApp, 1, 'GET', '/nowhere', '192.0.2.1', { 'x-forwarded-for': '203.0.113.9' })).toEqual([429]);
    expect(await ask(testApp, 1, 'GET', '/nowhere', '192.0.2.1', { 'x-forwarded-for': '203.0.113.10' })).toEqual([404]);
  });
});

test('a refresh that is refused uses up nothing', async () => {
  const { app, post, register, refresh } = await startApp({ ...LIMITS, RATE_LIMIT_TOKENS_PER_MINUTE: '1' });
  const { refreshToken } = await register();
  await post('/auth/refresh');
  expect(problemOf(await refresh(refreshToken))).toBe('429 rate_limited');
  expect((await app.store.sessions.find(refreshToken.split('.')[1]!))?.session).toMatchObject({ generation: 0, revokedAt: null });
});

test('RATE_LIMIT_ENABLED=false takes all of it away, and the fields with it', async () => {
  const { post } = await startApp();
  for (let time = 0; time < 30; time += 1) {
    const { statusCode, headers } = await post('/auth/refresh');
    expect([statusCode, headers['ratelimit-limit']]).toEqual([401, undefined]);
  }
});
