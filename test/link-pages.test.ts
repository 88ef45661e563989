import { createHash } from 'node:crypto';
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
const CONFIRM = { answer: 'confirm' };

test('the link of a mail has its token in the fragment, and leads to a page that is the same for everybody', async () => {
  const { mails, get, resetToken } = await startWithLinks();
  for (const [index, heading] of [[1, 'Choose a new password'], [0, 'Verify your e-mail address']] as const) {
    const { pathname, search, hash } = new URL(mails[index]!.link!);
    expect([search, hash]).toEqual(['', `#token=${mails[index]!.token}`]);
    const page = await get(pathname);
    expect(readPage(page)).toEqual({ status: 200, heading, alert: null });
    expect(page.body).toContain('<form method="post" action="?">');
    expect((await get(`${pathname}?token=${resetToken}`)).body).toBe(page.body);
  }
});

test('the token leads to a form that changes the password, and says so', async () => {
  const { testApp, get, john, resetToken, eventsOf } = await startWithLinks();
  expect(await eventsOf(async () => {
    const form = await submit(testApp, '/reset-password', { token: resetToken });
    expect(readPage(form)).toEqual({ status: 200, heading: 'Choose a new password', alert: null });
    expect(form.body).toContain(`<input type="hidden" name="token" value="${resetToken}">`);
    expect(form.body).toContain(`value="${JOHN}"`);
  })).toEqual([]);
  const changed = await submit(testApp, '/reset-password', { token: resetToken, new_password: 'a passphrase & more = ü☕' });
  expect(readPage(changed)).toEqual({ status: 200, heading: 'Your password is changed', alert: null });
  expect(cookieOf(changed)).toMatchObject({ value: '', maxAge: 0 });
  expect((await get('/users/me', john.accessToken)).statusCode).toBe(401);
  expect((await testApp.post('/auth/login', { email: JOHN, password: 'a passphrase & more = ü☕' })).statusCode).toBe(200);
  for (const fields of [{ token: resetToken }, { token: resetToken, new_password: NEW }] as Record<string, string>[]) {
    expect(readPage(await submit(testApp, '/reset-password', fields))).toEqual(INVALID);
  }
  expect(testApp.events()).toEqual(expect.arrayContaining(['password_reset', 'password_reset_refused']));
});

test('the other token leads to a form whose button verifies the address', async () => {
  const { testApp, get, john, verifyToken } = await startWithLinks();
  const form = await submit(testApp, '/verify-email', { token: verifyToken });
  expect(readPage(form)).toEqual({ status: 200, heading: 'Verify your e-mail address', alert: null });
  expect(form.body).toContain(JOHN);
  expect(form.body, 'the account is in use').not.toMatch(/not_me|type="password"/);
  expect((await get('/users/me', john.accessToken)).json()).toMatchObject({ email_verified: false });
  expect(readPage(await submit(testApp, '/verify-email', { token: verifyToken, ...CONFIRM }))).toEqual({ status: 200, heading: 'Your e-mail address is verified', alert: null });
  expect((await get('/users/me', john.accessToken)).json()).toMatchObject({ email_verified: true });
  for (const answer of [{}, CONFIRM, { answer: 'not_me' }]) expect(readPage(await submit(testApp, '/verify-email', { token: verifyToken, ...answer }))).toEqual(INVALID);
});

test('a link that was pasted whole is taken like its token', async () => {
  const { testApp, mails, resetToken, verifyToken } = await startWithLinks();
  const pasted = [mails[1]!.link!, `  ${mails[1]!.link!}\n`, resetToken, `/reset-password?token=${resetToken}`, `#token=${resetToken}`];
  for (const token of pasted) expect(readPage(await submit(testApp, '/reset-password', { token })).status, token).toBe(200);
  const refused = ['x', 'x'.repeat(43), `${resetToken}x`, `xtoken=${resetToken}`, `${mails[1]!.link!}&token=${'x'.repeat(43)}`,
    '"><script>alert(1)</script>', `${resetToken} ${resetToken}`, verifyToken, mails[0]!.link!];
  for (const token of refused) {
    const answer = await submit(testApp, '/reset-password', { token });
    expect(readPage(answer), token).toEqual(INVALID);
    expect(answer.body).not.toMatch(/script|xxxx/);
  }
  expect(readPage(await submit(testApp, '/verify-email', { token: resetToken }))).toEqual(INVALID);
});

test('an expired link offers to send a new one, which changes the password', async () => {
  const { testApp, clock, resetToken } = await startWithLinks();
  clock.now += 61 * 60_000;
  for (const fields of [{ token: resetToken }, { token: resetToken, new_password: NEW }] as Record<string, string>[]) {
    const page = await submit(testApp, '/reset-password', fields);
    expect(readPage(page)).toMatchObject({ status: 400, heading: 'This link has expired' });
    expect(page.body).toContain(`<strong>${JOHN}</strong>`);
  }
  expect(await testApp.mails()).toEqual([]);
  const sent = await submit(testApp, '/reset-password', { token: resetToken, answer: 'renew' });
  expect(readPage(sent)).toEqual({ status: 200, heading: 'A new link is on its way', alert: null });
  const [mail] = await testApp.mails();
  expect(readPage(await submit(testApp, '/reset-password', { token: mail!.token!, new_password: NEW })).status).toBe(200);
  expect(readPage(await submit(testApp, '/reset-password', { token: mail!.token!, answer: 'renew' }))).toEqual(INVALID);
});

test('an expired link of a former address is not valid', async () => {
  const { testApp, john, clock, resetToken, request } = await startWithLinks();
  await request({ method: 'PATCH', url: '/users/me', headers: bearer(john.accessToken), payload: { email: 'next@example.com', password: PASSWORD } });
  const change = (await testApp.mails()).find(({ to }) => to === 'next@example.com');
  await submit(testApp, '/verify-email', { token: change!.token!, ...CONFIRM });
  clock.now += 61 * 60_000;
  expect(readPage(await submit(testApp, '/reset-password', { token: resetToken }))).toEqual(INVALID);
});

describe('under REQUIRE_EMAIL_VERIFICATION', () => {
  /** Mallory has registered John's address, and John has got the mail. */
  async function startHijacked() {
    const testApp = await startApp({ REQUIRE_EMAIL_VERIFICATION: 'true', RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1000' });
    const registered = await testApp.post('/auth/register', { email: JOHN, password: PASSWORD });
    const token = (await testApp.mails())[0]!.token!;
    const { name, value } = registered.cookies[0]!;
    const account = async () => (await testApp.app.store.users.findByIdentifier(JOHN, null))[0];
    return { ...testApp, testApp, token, account, cookie: { cookie: `${name}=${value}` } };
  }

  test('the page asks for the password in another browser, and says what was wrong with it', async () => {
    const { testApp, token, account } = await startHijacked();
    const form = await submit(testApp, '/verify-email', { token });
    expect(readPage(form)).toMatchObject({ status: 200, heading: 'Verify your e-mail address' });
    expect(form.body).toMatch(/<input id="password" name="password" type="password"/);
    const wrong = await submit(testApp, '/verify-email', { token, password: 'a wrong guess', ...CONFIRM });
    expect(readPage(wrong)).toMatchObject({ status: 401, alert: 'This is not the password that was chosen.' });
    expect(wrong.body).toMatch(/<input id="password"[^>]* aria-invalid="true" aria-describedby="fault why"/);
    expect(readPage(await submit(testApp, '/verify-email', { token, ...CONFIRM }))).toMatchObject({ status: 422, alert: 'The password is needed.' });
    for (let times = 0; times < 4; times += 1) await submit(testApp, '/verify-email', { token, password: '', ...CONFIRM });
    expect(readPage(await submit(testApp, '/verify-email', { token, password: PASSWORD, ...CONFIRM }))).toMatchObject({ status: 429, alert: 'Too many attempts; try again in 1 s.' });
    testApp.clock.now += 1000;
    expect((await account())!.emailVerifiedAt).toBeNull();
    expect(readPage(await submit(testApp, '/verify-email', { token, password: PASSWORD, ...CONFIRM })).status).toBe(200);
    expect((await account())!.emailVerifiedAt).toBe(testApp.clock.now);
  });

  test('the browser that registered needs none', async () => {
    const { testApp, token, cookie } = await startHijacked();
    expect((await submit(testApp, '/verify-email', { token }, cookie)).body).not.toContain('type="password"');
    expect(readPage(await submit(testApp, '/verify-email', { token, ...CONFIRM }, cookie)).status).toBe(200);
  });

  test('“This was not me” deletes the account, by POST alone, and without the password', async () => {
    const { testApp, token, account, request } = await startHijacked();
    expect((await submit(testApp, '/verify-email', { token })).body).toMatch(/<button [^>]*value="not_me" formnovalidate>This was not me/);
    await request({ method: 'GET', url: `/verify-email?token=${token}&answer=not_me` });
    expect(await account()).toBeDefined();
    const deleted = await submit(testApp, '/verify-email', { token, password: '', answer: 'not_me' });
    expect(readPage(deleted)).toEqual({ status: 200, heading: 'The account is deleted', alert: null });
    expect(await account()).toBeUndefined();
  });
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
  expect(readPage(await submit(testApp, '/verify-email', { token, ...CONFIRM }))).toMatchObject({ status: 409, heading: 'This address is in use' });
});

test('a scanner that follows links, and even one that sends the form of the page, uses nothing up', async () => {
  const { testApp, request, resetToken, verifyToken, eventsOf } = await startWithLinks();
  const forms: [string, Record<string, string>][] = [['/verify-email', { token: verifyToken, ...CONFIRM }], ['/reset-password', { token: resetToken, new_password: NEW }]];
  for (const [url, fields] of forms) {
    expect(await eventsOf(async () => {
      for (const method of ['GET', 'HEAD', 'GET'] as const) expect((await request({ method, url: `${url}?token=${fields.token}` })).statusCode).toBe(200);
      for (let times = 0; times < 3; times += 1) expect((await submit(testApp, url, { token: fields.token! })).statusCode).toBe(200);
    })).toEqual([]);
    expect((await submit(testApp, url, fields)).statusCode).toBe(200);
  }
});

test('what a page shows is text: an address with markup in it stays one', async () => {
  const testApp = await startApp();
  await testApp.register('b&\'x\'@example.com');
  const page = await submit(testApp, '/verify-email', { token: (await testApp.mails())[0]!.token! });
  expect(page.body).toContain('<strong>b&amp;&#39;x&#39;@example.com</strong>');
});

test('every page of theirs loads nothing, runs nothing but the one script, is in no frame, in no cache, and tells no other site its address', async () => {
  const { testApp, get, resetToken, verifyToken } = await startWithLinks();
  const reading = [await get('/reset-password'), await get('/verify-email')];
  const others = [
    await submit(testApp, '/reset-password', { token: resetToken }), await submit(testApp, '/verify-email', { token: verifyToken }),
    await submit(testApp, '/reset-password', { token: resetToken, new_password: 'short' }), await submit(testApp, '/verify-email', { token: verifyToken, ...CONFIRM }),
    await submit(testApp, '/verify-email', { token: 'x' }), await raw(testApp, '/verify-email', '{}', 'application/json'),
  ];
  const policy = /^default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; style-src 'sha256-[\w+/]{43}='(; script-src .+)?$/;
  for (const { headers, body } of [...reading, ...others]) {
    expect(headers['content-security-policy']).toMatch(policy);
    expect(headers).toMatchObject({
      'referrer-policy': 'same-origin', 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY',
      'cross-origin-opener-policy': 'same-origin', 'cross-origin-resource-policy': 'same-origin',
    });
    expect(body).toMatch(/^<!doctype html>\n<html lang="en">/);
    expect(body).toContain('<meta name="viewport" content="width=device-width, initial-scale=1">');
    expect(body).not.toMatch(/<link|<img|<a |https?:|style=|onclick|innerHTML|eval/i);
  }
  for (const { headers, body } of others) {
    expect(headers['content-security-policy']).not.toContain('script');
    expect(body).not.toContain('<script');
  }
  for (const { headers, body } of reading) {
    const [, script = ''] = /<script>([\s\S]*?)<\/script>/.exec(body)!;
    const hash = createHash('sha256').update(script).digest('base64');
    expect(headers['content-security-policy']).toContain(`; script-src 'sha256-${hash}'; require-trusted-types-for 'script'; trusted-types 'none'`);
    expect(body.match(/<script/g)).toHaveLength(1);
    expect(body).toMatch(/<noscript>.+your browser runs none/);
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
      [400, `${start}${good}&new_password=${good}`], [422, `${start}${good}&more=1`], [422, `new_password=${good}`], [422, ''], [422, `${start}${good}&answer=other`],
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
    expect(readPage(await get(`${url}/`)).status).toBe(200);
    expect(problemOf(await request({ method: 'DELETE', url }))).toBe('405 method_not_allowed');
  }
});
