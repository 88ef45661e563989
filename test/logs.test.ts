import { describe, expect, test } from 'vitest';
import { bearer, cookieOf, PASSWORD, startApp } from './support/app.ts';
import { DatabaseAway } from '../src/store/db.ts';
import { listen, sendRaw } from './support/http.ts';

const EMAIL = 'secretive.person@example.com';
const NEXT_PASSWORD = 'battery staple horse';
const QUERY = 'query-Q7w8E9';
const SECRET_KEY = 'aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA';

/** A life of an account, with all that can go wrong; yields everything of it that a log must not hold. */
async function live(LOG_LEVEL: string) {
  const testApp = await startApp({ LOG_LEVEL, RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '5', SECRET_KEY });
  const { app, post, get, request, refresh, clock, logLines } = testApp;
  const credentials = { email: EMAIL, password: PASSWORD };
  const secrets = [EMAIL, EMAIL.slice(0, 10), PASSWORD, NEXT_PASSWORD, QUERY, 'wrong guess', SECRET_KEY, '$argon2', 'kv-agent'];
  const registered = await post(`/auth/register?token=${QUERY}`, credentials, { 'user-agent': 'kv-agent/1.0' });
  const first = cookieOf(registered)!;
  secrets.push(...registered.cookies.find(({ name }) => name === 'device')!.value.split('.').filter((part) => part.length > 12));
  const { access_token: accessToken } = registered.json<{ access_token: string }>();
  await get(`/users/me?access_token=${QUERY}`, accessToken);
  await get(`/nowhere/${QUERY}?x=${QUERY}`, accessToken);
  await get(`/%${QUERY}`);
  await get(`/docs?x=${QUERY}`);
  await post('/auth/login', { email: EMAIL, password: 'wrong guess' });
  await request({ method: 'POST', url: '/auth/login', headers: { 'content-type': 'application/json' }, payload: `{"email":"${EMAIL}","password":"wrong guess` });
  await post('/auth/login', { email: EMAIL, password: 'wrong guess', extra: QUERY });
  await post('/auth/change-password', { old_password: 'wrong guess', new_password: NEXT_PASSWORD }, bearer(accessToken));
  const changed = await post('/auth/change-password', { old_password: PASSWORD, new_password: NEXT_PASSWORD }, bearer(accessToken));
  const cookie = cookieOf(changed)!;
  const { access_token: present } = changed.json<{ access_token: string }>();
  const refreshed = await post('/auth/refresh', undefined, { cookie: `refresh_token=${cookie.value}` });
  await refresh(cookie.value);
  await refresh(`${cookie.value.slice(0, -4)}AAAA`);
  await post('/auth/refresh', { refresh_token: cookie.value }, { 'sec-fetch-site': 'cross-site', cookie: `refresh_token=${cookie.value}` });
  app.store.sessions.findLive = () => { throw new DatabaseAway('disk I/O error'); };
  await get('/users/me', present);
  clock.now += 31_000;
  await refresh(cookie.value);
  await post('/auth/logout', { refresh_token: cookieOf(refreshed)!.value });
  for (let time = 0; time < 6; time += 1) await post('/login/', credentials);
  const port = await listen(app);
  await sendRaw(port, `GET /${QUERY} HTTP/1.1\r\nHost: a\r\nHost: ${QUERY}\r\nAuthorization: Bearer ${accessToken}\r\nConnection: close\r\n\r\n`);
  await sendRaw(port, `${QUERY}\r\n\r\n`);
  const tokens = [accessToken, present, first.value, cookie.value, cookieOf(refreshed)!.value, refreshed.json<{ access_token: string }>().access_token];
  return { logLines, events: testApp.events(), secrets: [...secrets, ...tokens, ...tokens.map((token) => token.split('.').at(-1)!)] };
}

describe('the log', () => {
  test.each(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])('at level %s holds no password, token, address, query, path, header or body', async (level) => {
    const { logLines, secrets } = await live(level);
    const log = logLines.join('');
    expect.soft(secrets.filter((secret) => log.includes(secret))).toEqual([]);
    expect.soft(log.match(/eyJ\w+|rt1\.|"(authorization|cookie|set-cookie|user-agent|headers|body|url)"/gi)).toBeNull();
    expect(logLines.length > 0).toBe(!['fatal', 'silent'].includes(level));
  });

  test('says what an operator needs: each event of security, each request by its route, with request id and address', async () => {
    const { logLines, events } = await live('info');
    expect(events).toEqual(expect.arrayContaining([
      'registered', 'login_refused', 'password_change_refused', 'password_changed', 'refresh_token_repeated', 'refresh_token_refused', 'refresh_token_reused',
      'cross_site_refused', 'database_away', 'rate_limited', 'signed_out', 'request',
    ]));
    const lines = logLines.map((line) => JSON.parse(line) as Record<string, unknown>);
    const requests = lines.filter(({ event }) => event === 'request');
    for (const line of requests) expect(line).toMatchObject({ request_id: expect.stringMatching(/^[\da-f-]{36}$/), method: expect.any(String), status: expect.any(Number), ip: '127.0.0.1', time: expect.stringMatching(/^20.*Z$/) });
    expect(new Set(requests.map(({ route }) => route))).toEqual(new Set(['/auth/register', '/users/me', undefined, '/docs', '/auth/login', '/auth/change-password', '/auth/refresh', '/auth/logout']));
    expect(requests.find(({ route, status }) => route === '/users/me' && status === 200)).toMatchObject({ user_id: expect.any(String), session_id: expect.any(String) });
    const reuse = lines.find(({ event }) => event === 'refresh_token_reused');
    expect(reuse).toMatchObject({ level: 40, user_id: expect.any(String), session_id: expect.any(String), session_ip: '127.0.0.1', ip: '127.0.0.1' });
  });

  test('has no line over 1 kB, however long what a client sends, nor a line for bytes that are no HTTP request', async () => {
    const long = 'a'.repeat(7000);
    const { app, request, logLines } = await startApp({ TRUST_PROXY: '127.0.0.1' });
    const headers = {
      origin: `https://${long}`, 'user-agent': long, 'x-forwarded-for': long, 'x-request-id': long, referer: long, cookie: `device=${long}`,
    };
    const urls = ['/auth/login', '/users/me', `/${long}`, `/auth/sessions/${long}`, '/%', '/docs/static/../../x'];
    for (const method of ['GET', 'POST', 'DELETE', 'OPTIONS'] as const) {
      for (const url of urls) await request({ method, url, headers });
    }
    app.store.users.findForSignIn = () => { throw new Error(long); };
    await request({ method: 'POST', url: '/auth/login', payload: { email: 'john@example.com', password: PASSWORD } });
    const ofTheClient = logLines.filter((line) => !line.includes('"event":"unexpected"')); // that has a stack
    expect(ofTheClient).toHaveLength(logLines.length - 1);
    expect(ofTheClient.filter((line) => line.length > 1000)).toEqual([]);
    expect(logLines.join('')).not.toContain('a'.repeat(301));
    const before = logLines.length;
    const port = await listen(app);
    for (let time = 0; time < 20; time += 1) await sendRaw(port, `${long} ${long}\r\n\r\n`);
    await sendRaw(port, `GET / HTTP/1.1\r\nHost: a\r\nX-A: ${'a'.repeat(20_000)}\r\n\r\n`);
    expect(logLines.slice(before).map((line) => JSON.parse(line) as object)).not.toContainEqual(expect.objectContaining({ event: expect.anything() }));
  });

  test('keeps one line a record: what a client sends cannot begin a line of its own', async () => {
    const { post, logLines } = await startApp();
    await post('/auth/login', { email: 'a\n{"event":"signed_in"}', password: 'b' }, { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' });
    await post('/auth/refresh', undefined, { 'x-request-id': 'mine', 'request-id': 'mine' });
    for (const line of logLines) expect(line.trim().split('\n')).toHaveLength(1);
    expect(logLines.join('')).not.toMatch(/signed_in|"mine"/);
  });
});
