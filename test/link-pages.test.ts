import { describe, expect, test } from 'vitest';
import { bearer, cookieOf, PASSWORD, problemOf, startApp, type TestApp, WITHOUT_MAIL } from './support/app.ts';

const JOHN = 'john@example.com';
const NEW = 'another long passphrase';
const FORM = 'application/x-www-form-urlencoded';
const PAGES = ['/reset-password', '/verify-email'];

type Answer = Awaited<ReturnType<TestApp['request']>>;

const submit = ({ request }: TestApp, url: string, fields: Record<string, string> | string, headers: Record<string, string> = {}) =>
  request({ method: 'POST', url, payload: new URLSearchParams(fields).toString(), headers: { 'content-type': FORM, ...headers } });
const raw = ({ request }: TestApp, url: string, payload: string | Buffer, type = FORM) => request({ method: 'POST', url, payload, headers: { 'content-type': type } });

/** John, with the tokens of both mails in hand. */
async function startWithLinks(env: Record<string, string> = {}) {
  const testApp = await startApp(env);
  const john = await testApp.register();
  await testApp.post('/auth/forgot-password', { email: JOHN });
  const mails = await testApp.mails();
  const tokenOf = (page: string) => mails.find(({ link }) => link?.includes(page))!.token!;
  return { ...testApp, testApp, john, mails, resetToken: tokenOf('/reset-password'), verifyToken: tokenOf('/verify-email') };
}

/** The heading, and what is announced as an alert. */
function readPage(answer: Answer) {
  expect(answer.headers['content-type']).toBe('text/html; charset=utf-8');
  const [, title = '', heading = ''] = /<title>(?:Error: )?(.*?)<\/title>[\s\S]*<h1>(.*?)<\/h1>/.exec(answer.body) ?? [];
  expect(heading).toBe(title);
  return { status: answer.statusCode, heading, alert: /role="alert">(.*?)</.exec(answer.body)?.[1] ?? null };
}

const INVALID = { status: 400, heading: 'This link is not valid', alert: expect.stringMatching(/^It was used already, has expired/) };

test('the link of a mail leads to a page whose form changes the password, and says so', async () => {
  const { testApp, mails, get, john, resetToken, events } = await startWithLinks();
  const { pathname, search } = new URL(mails.at(-1)!.link!);
  const page = await get(pathname + search);
  expect(readPage(page)).toEqual({ status: 200, heading: 'Choose a new password', alert: null });
  expect(page.body).toContain(`<input type="hidden" name="token" value="${resetToken}">`);
  expect(page.body).toContain('<form method="post" action="?">');
  const changed = await submit(testApp, pathname, { token: resetToken, new_password: 'a passphrase & more = ü☕' });
  expect(readPage(changed)).toEqual({ status: 200, heading: 'Your password is changed', alert: null });
  expect(cookieOf(changed)).toMatchObject({ value: '', maxAge: 0 });
  expect((await get('/users/me', john.accessToken)).statusCode).toBe(401);
  expect((await testApp.post('/auth/login', { email: JOHN, password: 'a passphrase & more = ü☕' })).statusCode).toBe(200);
  expect(readPage(await submit(testApp, pathname, { token: resetToken, new_password: NEW }))).toEqual(INVALID);
  expect(readPage(await get(pathname + search))).toEqual(INVALID);
  expect(events()).toEqual(expect.arrayContaining(['password_reset', 'password_reset_refused']));
});

test('the other link leads to a page whose button verifies the address', async () => {
  const { testApp, mails, get, john, verifyToken } = await startWithLinks();
  const { pathname, search } = new URL(mails[0]!.link!);
  const page = await get(pathname + search);
  expect(readPage(page)).toEqual({ status: 200, heading: 'Verify your e-mail address', alert: null });
  expect(page.body).toContain(JOHN);
  expect(readPage(await submit(testApp, pathname, { token: verifyToken }))).toEqual({ status: 200, heading: 'Your e-mail address is verified', alert: null });
  expect((await get('/users/me', john.accessToken)).json()).toMatchObject({ email_verified: true });
  expect(readPage(await submit(testApp, pathname, { token: verifyToken }))).toEqual(INVALID);
});

test('a password that breaks a rule is told beside its field, and the link still works', async () => {
  const { testApp, resetToken } = await startWithLinks();
  for (const weak of ['', 'short', 'password1']) {
    const answer = await submit(testApp, '/reset-password', { token: resetToken, new_password: weak });
    expect(readPage(answer)).toEqual({ status: 422, heading: 'Choose a new password', alert: expect.stringMatching(/^The new password must .*\.$/) });
    expect(answer.body).toContain('<title>Error: ');
    expect(answer.body).toMatch(/<input id="new-password"[^>]* aria-invalid="true" aria-describedby="fault rule"/);
    if (weak) expect(answer.body).not.toContain(`"${weak}"`);
  }
  expect(readPage(await submit(testApp, '/reset-password', { token: resetToken, new_password: NEW })).status).toBe(200);
});

test('an address that another account has meanwhile is told, and not verified', async () => {
  const { testApp, john, request, register } = await startWithLinks();
  await request({ method: 'PATCH', url: '/users/me', headers: bearer(john.accessToken), payload: { email: 'wanted@example.com', password: PASSWORD } });
  const token = (await testApp.mails()).find(({ to }) => to === 'wanted@example.com')!.token!;
  await register('wanted@example.com');
  expect(readPage(await submit(testApp, '/verify-email', { token }))).toMatchObject({ status: 409, heading: 'This address is in use' });
});

test('to read a page, by GET or HEAD, uses nothing up', async () => {
  const { testApp, request, resetToken, verifyToken } = await startWithLinks();
  const forms: [string, Record<string, string>][] = [['/verify-email', { token: verifyToken }], ['/reset-password', { token: resetToken, new_password: NEW }]];
  for (const [url, fields] of forms) {
    for (const method of ['GET', 'HEAD', 'GET'] as const) expect((await request({ method, url: `${url}?token=${fields.token}` })).statusCode).toBe(200);
    expect((await submit(testApp, url, fields)).statusCode).toBe(200);
  }
});

test('whatever else is in the place of a token is told to be no valid link, and is not in the page', async () => {
  const { get, resetToken, verifyToken } = await startWithLinks();
  const queries = ['', '?', '?token=', '?token=x', `?token=${'x'.repeat(43)}`, `?token=${resetToken}x`, `?token=${resetToken}&token=${resetToken}`, `?token[]=${resetToken}`,
    `?token=%22%3E%3Cscript%3Ealert(1)%3C/script%3E`, `?token=${verifyToken}`];
  for (const query of queries) {
    const answer = await get(`/reset-password${query}`);
    expect(readPage(answer), query).toEqual(INVALID);
    expect(answer.body).not.toMatch(/script|xxxx/);
  }
  expect(readPage(await get(`/verify-email?token=${resetToken}`))).toEqual(INVALID);
});

test('what a page shows is text: an address with markup in it stays one', async () => {
  const testApp = await startApp();
  await testApp.register('b&\'x\'@example.com');
  const page = await testApp.get(`/verify-email?token=${(await testApp.mails())[0]!.token}`);
  expect(page.body).toContain('<strong>b&amp;&#39;x&#39;@example.com</strong>');
});

test('every page of theirs loads nothing, runs nothing, is in no frame, in no cache, and tells nobody its address', async () => {
  const { testApp, get, resetToken, verifyToken } = await startWithLinks();
  const answers = [
    await get(`/reset-password?token=${resetToken}`), await get(`/verify-email?token=${verifyToken}`), await get('/reset-password'),
    await submit(testApp, '/reset-password', { token: resetToken, new_password: 'short' }), await submit(testApp, '/verify-email', { token: verifyToken }),
    await raw(testApp, '/verify-email', '{}', 'application/json'),
  ];
  for (const { headers, body } of answers) {
    expect(headers['content-security-policy']).toMatch(/^default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; style-src 'sha256-[\w+/]{43}='$/);
    expect(headers).toMatchObject({
      'referrer-policy': 'no-referrer', 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY',
      'cross-origin-opener-policy': 'same-origin', 'cross-origin-resource-policy': 'same-origin',
    });
    expect(body).toMatch(/^<!doctype html>\n<html lang="en">/);
    expect(body).toContain('<meta name="viewport" content="width=device-width, initial-scale=1">');
    expect(body).not.toMatch(/<script|<link|<img|<a |https?:|style=|onclick/i);
  }
});

describe('their form', () => {
  test('passes from the page itself, and is refused from any other site', async () => {
    const { testApp, resetToken } = await startWithLinks();
    const fields = { token: resetToken, new_password: NEW };
    for (const headers of [{ 'sec-fetch-site': 'cross-site', origin: 'null' }, { 'sec-fetch-site': 'same-site' }, { origin: 'https://evil.example' }, { origin: 'null' }]) {
      expect(readPage(await submit(testApp, '/reset-password', fields, headers as Record<string, string>))).toMatchObject({ status: 403, heading: 'That did not work' });
    }
    // a page without a referrer sends its form with Origin: null
    expect((await submit(testApp, '/reset-password', fields, { 'sec-fetch-site': 'same-origin', origin: 'null' })).statusCode).toBe(200);
  });

  test('is read strictly: what is no form, no UTF-8, or twice there is refused, and nothing is done', async () => {
    const { testApp, resetToken } = await startWithLinks();
    const start = `token=${resetToken}&new_password=`;
    const good = encodeURIComponent(NEW);
    const attempts: [number, string | Buffer, string?][] = [
      [415, JSON.stringify({ token: resetToken, new_password: NEW }), 'application/json'], [415, start + good, 'text/plain'], [415, start + good, 'multipart/form-data; boundary=x'],
      [400, `${start}${good}%ff`], [400, `${start}${good}%`], [400, Buffer.concat([Buffer.from(start + good), Buffer.from([0xff])])], [400, `${start}${good}%ed%a0%80`],
      [400, `${start}${good}&new_password=${good}`], [422, `${start}${good}&more=1`], [422, `new_password=${good}`], [422, ''], [422, `token=${resetToken}`],
      [400, Array.from({ length: 11 }, (_, index) => `${index}=`).join('&')], [422, `__proto__=1&${start}${good}`], [413, start + 'x'.repeat(17_000)], [422, start + 'x'.repeat(1025)],
    ];
    for (const [status, payload, type] of attempts) expect(readPage(await raw(testApp, '/reset-password', payload, type)), `${payload.toString().slice(0, 100)} ${type}`).toMatchObject({ status, heading: 'That did not work' });
    const refused = await raw(testApp, '/reset-password', '{}', 'application/json');
    expect([refused.headers.accept, readPage(refused).alert]).toEqual([FORM, `The body must be sent as ${FORM}.`]);
    expect((await testApp.post('/auth/login', { email: JOHN, password: PASSWORD })).statusCode).toBe(200);
    expect((await raw(testApp, '/reset-password', `&${start}a=b+c%2Bd+long+enough&`)).statusCode).toBe(200);
    expect((await testApp.post('/auth/login', { email: JOHN, password: 'a=b c+d long enough' })).statusCode).toBe(200);
  });

  test('is taken there alone: every other route takes JSON', async () => {
    const { testApp, resetToken } = await startWithLinks();
    for (const url of ['/auth/change-password', '/auth/verify-email', '/auth/login']) {
      expect(problemOf(await submit(testApp, url, { token: resetToken, new_password: NEW }))).toBe('415 unsupported_media_type');
    }
  });

  test('has the limit of the API, and says so on a page', async () => {
    const testApp = await startApp({ RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '2' });
    for (const url of PAGES) {
      const answers: Answer[] = [];
      for (let times = 0; times < 3; times += 1) answers.push(await submit(testApp, url, { token: 'x' }));
      expect(readPage(answers[2]!)).toMatchObject({ status: 429, alert: expect.stringMatching(/^Too many requests; try again in \d+ s\.$/) });
      expect(Number(answers[2]!.headers['retry-after'])).toBeGreaterThan(0);
    }
  });
});

test('they are there only where mails lead to them: not with APP_URL, not without mails', async () => {
  for (const env of [{ APP_URL: 'https://app.example' }, WITHOUT_MAIL] as Record<string, string>[]) {
    const testApp = await startApp(env);
    for (const url of PAGES) {
      expect(problemOf(await testApp.get(url))).toBe('404 not_found');
      expect((await submit(testApp, url, { token: 'x' })).statusCode).toBeGreaterThanOrEqual(404);
    }
  }
  const { get, request } = await startApp();
  for (const url of PAGES) {
    expect(readPage(await get(`${url}/`))).toEqual(INVALID);
    expect(problemOf(await request({ method: 'DELETE', url }))).toBe('405 method_not_allowed');
  }
});
