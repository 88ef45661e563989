import { describe, expect, test } from 'vitest';
import { DatabaseAway } from '../src/store/db.ts';
import { HashNotComputed, PasswordQueueFull } from '../src/core/hash-queue.ts';
import { problems as catalogue } from '../src/problems.ts';
import { bearer, PASSWORD, problemOf, startApp, type TestApp, WITHOUT_MAIL } from './support/app.ts';
import { listen, parseAnswer, sendRaw } from './support/http.ts';

type Answer = Awaited<ReturnType<TestApp['request']>>;
type Case = [problem: string, headers: Record<string, unknown>, ask: (testApp: TestApp) => Promise<Answer>];

/** In every case this word is somewhere in what is sent; it must be nowhere in what is answered. */
const MARK = 'Zebra7';
/** The one file that is still sent by @fastify/static. */
const FILE = '/docs/static/oauth2-redirect.html';
const JOHN = { email: 'john@example.com', password: PASSWORD };

/** What some of them need to be reached. */
const NEEDS: Record<string, Record<string, string>> = {
  '429 rate_limited': { RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1' },
  '429 too_many_attempts': { RATE_LIMIT_ENABLED: 'true' },
  '501 mail_off': WITHOUT_MAIL,
  '422 password_required': { REQUIRE_EMAIL_VERIFICATION: 'true' },
};

const send = ({ request }: TestApp, method: 'GET' | 'POST' | 'PUT' | 'DELETE', url: string, payload?: string, headers: Record<string, string> = {}) =>
  request({ method, url, headers: { 'content-type': 'application/json', 'user-agent': MARK, ...headers }, ...(payload !== undefined && { payload }) });
const breakStore = ({ app }: TestApp, error: Error) => { app.store.users.findForSignIn = () => { throw error; }; };
const login = (testApp: TestApp) => testApp.post('/auth/login', { email: MARK, password: MARK });

const cases: Case[] = [
  ['400 malformed_body', {}, (testApp) => send(testApp, 'POST', '/auth/login', `{"email":"${MARK}`)],
  ['400 bad_request', {}, (testApp) => send(testApp, 'GET', `/${MARK}%`)],
  ['400 bad_request', {}, (testApp) => send(testApp, 'DELETE', `/auth/sessions/${MARK}%ff`)],
  ['400 bad_request', {}, (testApp) => send(testApp, 'POST', '/auth/login', '{}', { 'content-length': '3' })],
  ['400 link_invalid', {}, ({ post }) => post('/auth/verify-email', { token: MARK })],
  ['401 invalid_credentials', { 'www-authenticate': 'Bearer' }, login],
  ['401 access_token_missing', { 'www-authenticate': 'Bearer' }, (testApp) => send(testApp, 'GET', `/users/me?access_token=${MARK}`)],
  ['401 access_token_invalid', { 'www-authenticate': 'Bearer error="invalid_token"' }, ({ get }) => get('/users/me', MARK)],
  ['401 refresh_token_missing', { 'www-authenticate': 'Bearer' }, (testApp) => send(testApp, 'POST', `/auth/refresh?refresh_token=${MARK}`)],
  ['401 token_missing', { 'www-authenticate': 'Bearer' }, (testApp) => send(testApp, 'POST', `/auth/logout?token=${MARK}`)],
  ['401 refresh_token_invalid', { 'www-authenticate': 'Bearer error="invalid_token"' }, ({ refresh }) => refresh(MARK)],
  ['403 cross_site', {}, (testApp) => send(testApp, 'POST', '/auth/login', undefined, { origin: `https://${MARK}.example` })],
  ['404 not_found', {}, (testApp) => send(testApp, 'GET', `/docs/static/${MARK}`)],
  ['412 precondition_failed', {}, (testApp) => send(testApp, 'GET', FILE, undefined, { 'if-match': `"${MARK}"` })],
  ['412 precondition_failed', {}, (testApp) => send(testApp, 'GET', FILE, undefined, { 'if-unmodified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' })],
  ['416 range_not_satisfiable', {}, (testApp) => send(testApp, 'GET', FILE, undefined, { range: 'bytes=99999999-' })],
  ['404 not_found', {}, (testApp) => send(testApp, 'GET', `/${MARK}?x=${MARK}`)],
  ['404 not_found', {}, (testApp) => send(testApp, 'DELETE', `/auth/sessions/${MARK.repeat(40)}`)],
  ['404 session_not_found', {}, async ({ register, request }) => request({ method: 'DELETE', url: `/auth/sessions/${MARK}`, headers: bearer((await register()).accessToken) })],
  ['405 method_not_allowed', { allow: 'POST' }, (testApp) => send(testApp, 'PUT', `/auth/login?x=${MARK}`, MARK)],
  ['405 method_not_allowed', { allow: 'DELETE, GET, HEAD, PATCH' }, (testApp) => send(testApp, 'POST', '/users/me', MARK)],
  ['405 method_not_allowed', { allow: 'DELETE' }, (testApp) => send(testApp, 'PUT', `/auth/sessions/${MARK}`, MARK)],
  ['405 method_not_allowed', { allow: 'POST' }, (testApp) => send(testApp, 'DELETE', '/login', MARK)],
  ['409 identifier_taken', {}, async ({ register, post }) => { await register(`${MARK}@example.com`); return post('/auth/register', { ...JOHN, email: `${MARK}@example.com` }); }],
  ['413 body_too_large', {}, (testApp) => send(testApp, 'POST', '/auth/login', MARK.repeat(3000))],
  ['415 unsupported_media_type', { accept: 'application/json' }, (testApp) => send(testApp, 'POST', '/auth/login', MARK, { 'content-type': `text/${MARK}` })],
  ['422 invalid_input', {}, ({ post }) => post('/auth/register', { email: MARK, password: [MARK], [MARK]: MARK })],
  ['422 invalid_input', {}, ({ post }) => post('/auth/register', { username: `${MARK} ${MARK}`, password: MARK })],
  ['422 invalid_input', {}, ({ post }) => post(`/auth/logout?scope=${MARK}`)],
  ['429 rate_limited', { 'retry-after': expect.stringMatching(/^\d+$/), 'ratelimit-limit': '1', 'ratelimit-remaining': '0', 'ratelimit-reset': expect.stringMatching(/^\d+$/) },
    async (testApp) => { await login(testApp); return login(testApp); }],
  ['429 too_many_attempts', { 'retry-after': '1' }, async (testApp) => { for (let times = 0; times < 5; times += 1) await login(testApp); return login(testApp); }],
  ['422 password_required', {}, async ({ post, mails }) => {
    await post('/auth/register', { ...JOHN, email: `${MARK}@example.com` });
    return post('/auth/verify-email', { token: (await mails())[0]!.token });
  }],
  ['501 mail_off', {}, ({ post }) => post('/auth/forgot-password', { email: `${MARK}@example.com` })],
  ['500 unexpected', {}, (testApp) => { breakStore(testApp, new TypeError(`${MARK} is not a function`)); return login(testApp); }],
  ['500 unexpected', {}, (testApp) => { breakStore(testApp, Object.assign(new Error(MARK), { statusCode: 418, code: 'TEAPOT' })); return login(testApp); }],
  ['503 database_away', { 'retry-after': '2' }, (testApp) => { breakStore(testApp, new DatabaseAway(`no such table: ${MARK}`)); return login(testApp); }],
  ['503 hash_not_computed', { 'retry-after': '2' }, (testApp) => { breakStore(testApp, new HashNotComputed(MARK)); return login(testApp); }],
  ['503 overloaded', { 'retry-after': '2' }, (testApp) => { breakStore(testApp, new PasswordQueueFull(MARK)); return login(testApp); }],
];

test.each(cases)('%s is problem details, with what the status asks for, and no echo', async (problem, headers, ask) => {
  const answer = await ask(await startApp(NEEDS[problem]));
  const [status = '', code = ''] = problem.split(' ');
  expect(problemOf(answer)).toBe(problem);
  expect(answer.headers).toMatchObject({ ...headers, 'content-type': 'application/problem+json; charset=utf-8', 'cache-control': 'no-store' });
  expect(answer.headers).not.toHaveProperty('set-cookie');
  const { errors, ...body } = answer.json<Record<string, unknown>>();
  expect(body).toEqual({
    type: `urn:keyturn:problem:${code}`, title: expect.stringMatching(/^[A-Z][A-Za-z ]+$/), status: Number(status), code,
    detail: expect.stringMatching(/^.{4,}$/), request_id: answer.headers['x-request-id'],
  });
  expect(errors).toEqual(['409', '422'].includes(status) ? expect.any(Array) : undefined);
  expect(JSON.stringify([answer.body, answer.headers]).toLowerCase()).not.toContain(MARK.toLowerCase());
  expect(answer.body).not.toMatch(/node_modules|\.ts\b|\bat \w+|SQLITE|sqlite|FST_|Error:/);
});

describe('the catalogue', () => {
  const all = [
    catalogue.malformedBody(), catalogue.linkInvalid(), catalogue.badRequest(), catalogue.invalidCredentials(), catalogue.accessTokenMissing(), catalogue.accessTokenInvalid(), catalogue.refreshTokenMissing(), catalogue.tokenMissing(),
    catalogue.refreshTokenInvalid(), catalogue.refreshTokenReused(), catalogue.sessionEnded(), catalogue.crossSite(), catalogue.notFound(), catalogue.sessionNotFound(),
    catalogue.methodNotAllowed('GET'), catalogue.identifierTaken(['email']), catalogue.requestTimeout(), catalogue.bodyTooLarge(), catalogue.unsupportedMediaType(), catalogue.invalidInput([]),
    catalogue.passwordRequired(), catalogue.headersTooLarge(), catalogue.rateLimited(1), catalogue.tooManyAttempts(1), catalogue.mailOff(), catalogue.overloaded(), catalogue.hashNotComputed(), catalogue.refused(403), catalogue.databaseAway(), catalogue.draining(), catalogue.unexpected(),
  ];

  test('has a code of its own for each problem, a challenge on each 401, and Retry-After on each 503 and where passwords were guessed', () => {
    expect(new Set(all.map(({ code }) => code)).size).toBe(all.length);
    for (const { status, code, headers } of all) {
      expect.soft(status === 401, code).toBe('www-authenticate' in headers);
      expect.soft(status === 503 || code === 'too_many_attempts', code).toBe('retry-after' in headers);
    }
  });

  test('is not longer than this list', () => {
    expect(Object.keys(catalogue)).toHaveLength(all.length);
  });
});

test('a 422 names every field with its rule, as JSON Pointers, and never more than twenty', async () => {
  const { post } = await startApp();
  const answer = await post('/auth/register', { email: 'no address', username: 'a b', password: '' });
  expect(answer.json()).toMatchObject({
    detail: expect.stringContaining('password must NOT have fewer than 1 characters'),
    errors: expect.arrayContaining([{ pointer: '/email', detail: 'must match format "email"' }, { pointer: '/username', detail: expect.stringContaining('must match pattern') }, { pointer: '/password', detail: 'must NOT have fewer than 1 characters' }]),
  });
  const flood = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`field${index}`, index]));
  const { errors } = (await post('/auth/register', flood)).json<{ errors: unknown[] }>();
  expect(errors.length).toBeLessThanOrEqual(20);
});

test('an error of the server is in the log with its stack, under the request id of the answer; a mistake of the client is not', async () => {
  const testApp = await startApp();
  await login(testApp);
  expect(testApp.logLines.filter((line) => (JSON.parse(line) as { level: number }).level >= 50)).toEqual([]);
  breakStore(testApp, new TypeError('boom'));
  const answer = await login(testApp);
  const errors = testApp.logLines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ level }) => Number(level) >= 50);
  expect(errors).toEqual([expect.objectContaining({ event: 'unexpected', request_id: answer.json<{ request_id: string }>().request_id, err: expect.objectContaining({ message: 'boom', stack: expect.stringContaining('problems.test.ts') }) })]);
});

test('a refusal of the framework is no error of the server: the log has no stack, and nothing at level error', async () => {
  const testApp = await startApp();
  const refused = cases.filter(([problem]) => /^(404|412|416) /.test(problem));
  for (const [, , ask] of refused) await ask(testApp);
  const outside = parseAnswer(await sendRaw(await listen(testApp.app), 'GET /docs/static/../../package.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'));
  expect([outside.status, JSON.parse(outside.body)]).toEqual([403, expect.objectContaining({ code: 'forbidden', title: 'Forbidden' })]);
  expect(refused.length).toBeGreaterThan(5);
  const lines = testApp.logLines.map((line) => JSON.parse(line) as { level: number });
  expect(lines.filter(({ level }) => level >= 50)).toEqual([]);
  expect(testApp.logLines.join('')).not.toContain('"err"');
});
