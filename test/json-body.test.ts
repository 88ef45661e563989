import { describe, expect, test } from 'vitest';
import { bearer, cookieOf, PASSWORD, problemOf, startApp, type TestApp } from './support/app.ts';

const EMAIL = 'john@example.com';
const CREDENTIALS = JSON.stringify({ email: EMAIL, password: PASSWORD });

const signIn = ({ request }: TestApp, payload: string | Buffer, contentType?: string) =>
  request({ method: 'POST', url: '/auth/login', payload, headers: contentType === undefined ? {} : { 'content-type': contentType } });

async function startWithJohn() {
  const testApp = await startApp();
  await testApp.register();
  return testApp;
}

describe('the one type of bodies is application/json', () => {
  const refusedTypes = [
    'text/plain', 'text/plain;charset=UTF-8', 'text/plain; application/json', 'text/json', 'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x', 'application/json garbage', 'application/jsonx', 'application/json, text/plain', 'application/vnd.api+json',
    'application/json; charset=utf-16', 'application/json; charset=iso-8859-1', 'application/json; charset="utf-7"', '__proto__', 'constructor', '', undefined,
  ];

  test('others, and its look-alikes, are refused with 415, right credentials or not, and nobody is signed in', async () => {
    const testApp = await startWithJohn();
    for (const contentType of refusedTypes) {
      const answer = await signIn(testApp, CREDENTIALS, contentType);
      expect.soft([problemOf(answer), answer.headers.accept, cookieOf(answer)], contentType).toEqual(['415 unsupported_media_type', 'application/json', undefined]);
    }
  });

  test('it is read in any case, with charset utf-8, and with a parameter that means nothing', async () => {
    const testApp = await startWithJohn();
    for (const contentType of ['application/json', 'APPLICATION/JSON', 'application/json;charset=utf-8', 'application/json; charset="UTF-8"', 'application/json; profile=x']) {
      expect.soft((await signIn(testApp, CREDENTIALS, contentType)).statusCode, contentType).toBe(200);
    }
  });

  test('holds on every route that takes a body, so that each cross-origin request needs a preflight', async () => {
    const { register, request } = await startApp();
    const { accessToken } = await register();
    for (const url of ['/auth/register', '/auth/login', '/auth/refresh', '/auth/logout', '/auth/change-password', '/login', '/api/refresh-token/']) {
      for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
        const answer = await request({ method: 'POST', url, headers: { 'content-type': type, ...bearer(accessToken) }, payload: '{}' });
        expect(`${url} ${problemOf(answer)}`).toBe(`${url} 415 unsupported_media_type`);
      }
    }
  });
});

describe('bytes mean one thing', () => {
  const bytes = (...parts: (string | number[])[]) => Buffer.concat(parts.map((part) => Buffer.from(part as string)));
  const broken: [string, string | Buffer][] = [
    ['invalid UTF-8', bytes('{"email":"john@example.com","password":"', [0xc3, 0x28], '"}')],
    ['an overlong encoding', bytes('{"email":"john@example.com","password":"', [0xc0, 0xaf], '"}')],
    ['a surrogate in UTF-8', bytes('{"email":"john@example.com","password":"', [0xed, 0xa0, 0x80], '"}')],
    ['UTF-16', Buffer.from(CREDENTIALS, 'utf16le')],
    ['an escaped lone surrogate', '{"email":"john@example.com","password":"correct horse \\ud800"}'],
    ['a reversed surrogate pair', '{"email":"john@example.com","password":"correct horse \\udc00\\ud800"}'],
    ['__proto__', `{"__proto__":{"password":"x"},${CREDENTIALS.slice(1)}`],
    ['an escaped __proto__', `{"\\u005f_proto__":{"password":"x"},${CREDENTIALS.slice(1)}`],
    ['constructor.prototype', `{"constructor":{"prototype":{"x":1}},${CREDENTIALS.slice(1)}`],
    ['something after the value', `${CREDENTIALS}{}`],
    ['a comment', `${CREDENTIALS}// hello`],
    ['a trailing comma', `${CREDENTIALS.slice(0, -1)},}`],
    ['no JSON', 'email=john@example.com'],
    ['deep nesting', '['.repeat(8000)],
  ];

  test('a body that is not well-formed, or reaches for a prototype, is refused with 400 and not echoed', async () => {
    const testApp = await startWithJohn();
    for (const [name, payload] of broken) {
      const answer = await signIn(testApp, payload, 'application/json');
      expect.soft(problemOf(answer), name).toBe('400 malformed_body');
      expect.soft(answer.body, name).not.toMatch(/john|horse|SyntaxError|Unexpected|position| at /);
    }
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  test('two passwords that differ only in broken text never become one', async () => {
    const { post } = await startApp();
    expect((await post('/auth/register', { email: EMAIL, password: `correct horse \ufffd` })).statusCode).toBe(201);
    for (const broken of ['\ud800', '\udfff']) expect((await post('/auth/login', { email: EMAIL, password: `correct horse ${broken}` })).statusCode).toBe(400);
  });

  test('a byte order mark is skipped, and of a repeated name the last value is the one that is checked and used', async () => {
    const testApp = await startWithJohn();
    expect((await signIn(testApp, `\ufeff${CREDENTIALS}`, 'application/json')).statusCode).toBe(200);
    const repeated = (first: string, last: string) => `{"email":"${EMAIL}","password":"${first}","password":"${last}"}`;
    expect((await signIn(testApp, repeated('wrong password', PASSWORD), 'application/json')).statusCode).toBe(200);
    expect((await signIn(testApp, repeated(PASSWORD, 'wrong password'), 'application/json')).statusCode).toBe(401);
  });
});

describe('bodies are strict', () => {
  const refused: [url: string, payload: unknown, pointer: string][] = [
    ['/auth/register', { email: EMAIL, password: 1234567890 }, '/password'],
    ['/auth/register', { email: EMAIL, password: null }, '/password'],
    ['/auth/register', { email: [EMAIL], password: PASSWORD }, '/email'],
    ['/auth/register', { email: { toString: EMAIL }, password: PASSWORD }, '/email'],
    ['/auth/register', { username: true, password: PASSWORD }, '/username'],
    ['/auth/register', { email: EMAIL, password: PASSWORD, roles: ['admin'] }, ''],
    ['/auth/register', { email: EMAIL, password: PASSWORD, email_verified: true }, ''],
    ['/auth/register', { email: EMAIL, password: PASSWORD, id: 'sneaky-id' }, ''],
    ['/auth/login', { email: 5, password: PASSWORD }, '/email'],
    ['/auth/login', { email: { $ne: null }, password: PASSWORD }, '/email'],
    ['/auth/login', { email: EMAIL, password: PASSWORD, scope: 'admin' }, ''],
    ['/auth/login', { password: PASSWORD }, ''],
    ['/auth/refresh', { refresh_token: 5 }, '/refresh_token'],
    ['/auth/refresh', { refresh_token: ['rt1.a.0.b'] }, '/refresh_token'],
    ['/auth/refresh', { refreshToken: 'rt1.a.0.b' }, ''],
    ['/auth/logout', { refresh_token: null }, '/refresh_token'],
    ['/auth/login', [], ''],
    ['/auth/login', 'text', ''],
    ['/auth/login', 5, ''],
    ['/auth/login', true, ''],
    ['/auth/login', null, ''],
  ];

  test('another type is not converted, an unknown field not dropped: 422 names the rule, and never the value', async () => {
    const { request } = await startApp();
    for (const [url, body, pointer] of refused) {
      const payload = JSON.stringify(body);
      const answer = await request({ method: 'POST', url, headers: { 'content-type': 'application/json' }, payload });
      expect.soft([problemOf(answer), cookieOf(answer)], payload).toEqual(['422 invalid_input', undefined]);
      expect.soft(answer.json(), payload).toMatchObject({ errors: expect.arrayContaining([{ pointer, detail: expect.any(String) }]) });
      expect.soft(answer.body, payload).not.toMatch(/correct horse|john@|admin|sneaky|scope|1234567890|rt1\.|\$ne/);
    }
  });

  test('a rule is not lenient with the query either', async () => {
    const { register, post } = await startApp();
    const { accessToken } = await register();
    expect(problemOf(await post('/auth/logout?scope=everyone', undefined, bearer(accessToken)))).toBe('422 invalid_input');
    expect(problemOf(await post('/auth/logout?scope=all&scope=current', undefined, bearer(accessToken)))).toBe('422 invalid_input');
  });
});
