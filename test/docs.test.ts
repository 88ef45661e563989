import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { Validator } from '@seriousme/openapi-schema-validator';
import { getTableColumns } from 'drizzle-orm';
import type { InjectOptions } from 'fastify';
import { expect, onTestFinished, test, vi } from 'vitest';
import { sessions, users } from '../src/store/schema/sqlite.ts';
import { bearer, cookieOf, PASSWORD, problemOf, startApp, type TestApp, tokensOf, WITHOUT_MAIL } from './support/app.ts';
import { examplesOf, JSON_TYPE, mediaOf, nameOf, type Operation, PROBLEM_TYPE, problemsIn, readDocument, requestFor, successOf } from './support/openapi.ts';

type Answer = Awaited<ReturnType<TestApp['request']>>;

const PAGES = ['/docs', '/docs/json', '/docs/yaml', '/docs/static/index.html', '/docs/static/swagger-initializer.js', '/openapi.json', '/redoc', '/redoc/redoc.js'];
/** Where the links of mails lead. */
const LINK_PAGES = ['/reset-password', '/verify-email'];
const BROWSER = ['/', '/client.js', '/demo', '/demo/demo.js', '/demo/demo.css'];
/** Answered only when the server itself or the connection is at fault. */
const FAULTS = ['bad_request', 'unexpected', 'draining', 'database_away', 'overloaded', 'hash_not_computed'];
/** Columns whose names are also those of fields that leave the server. */
const PUBLIC_NAMES = ['id', 'email', 'username', 'roles', 'created_at', 'user_id', 'last_used_at', 'expires_at', 'idle_expires_at', 'ip'];

test('the document is valid OpenAPI 3.1, and its own examples keep to its schemas', async () => {
  const { document, operations, conforms } = await readDocument();
  const validator = new Validator();
  expect((await validator.validate(structuredClone(document))).errors).toBeUndefined();
  expect(validator.version).toBe('3.1');
  const media = operations.flatMap(({ requestBody, responses }) => [requestBody, ...Object.values(responses)].flatMap((part) => Object.values(part?.content ?? {})));
  for (const { schema, example, examples = {} } of media) {
    const shown = [...(example === undefined ? [] : [example]), ...Object.values(examples).map(({ value }) => value)];
    expect(shown).not.toEqual([]);
    for (const each of shown) expect(conforms(schema, each)).toBe('');
  }
});

test('every route is in the document, and nothing else is (ASVS 6.3.4)', async () => {
  const { app, operations, request } = await readDocument();
  const found: string[] = [];
  for (const [url, methods] of app.routeMethods) {
    for (const method of methods) {
      if (method === 'HEAD' || [...PAGES, ...LINK_PAGES, ...BROWSER].includes(url)) continue;
      const answer = await request({ method, url });
      if (answer.statusCode !== 405) found.push(`${method} ${url.replace(/:(\w+)/g, '{$1}')}`);
    }
  }
  expect(found.sort()).toEqual(operations.map(nameOf).sort());
  expect(found).toContain('DELETE /auth/sessions/{id}');
});

test('every route has a summary, a known tag, a name of its own, one success and its errors as problem details', async () => {
  const { document, operations } = await readDocument();
  const tags = document.tags.map(({ name }) => name);
  expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length);
  for (const operation of operations) {
    expect(operation.operationId, nameOf(operation)).toMatch(/^[a-z]+([A-Z][a-z]+)*$/);
    expect(operation.summary).toMatch(/^[A-Z]/);
    expect(operation.tags.filter((tag) => tags.includes(tag))).toHaveLength(1);
    expect(successOf(operation)).toHaveLength(1);
    expect(problemsIn(operation)).toEqual(expect.arrayContaining(['400 bad_request', '500 unexpected', '503 draining']));
    for (const [status, { description, content }] of Object.entries(operation.responses)) {
      expect(description).not.toBe('Default Response');
      if (Number(status) >= 400) expect(content).toEqual({ [PROBLEM_TYPE]: { schema: { $ref: '#/components/schemas/Problem' }, examples: expect.any(Object) } });
    }
  }
});

test('security is named exactly where a request without a token is refused, and is optional where that depends on the body', async () => {
  const { operations, request } = await readDocument();
  for (const operation of operations) {
    const answers: Answer[] = [];
    for (const payload of examplesOf(operation).length > 0 ? examplesOf(operation) : [undefined]) answers.push(await request(requestFor(operation, { payload })));
    const refused = answers.filter((answer) => answer.statusCode === 401 && /^401 (access_|refresh_)?token_missing$/.test(problemOf(answer)));
    expect(operation.security !== undefined, nameOf(operation)).toBe(refused.length > 0);
    expect(operation.security?.some((way) => Object.keys(way).length === 0) ?? false, nameOf(operation)).toBe(refused.length > 0 && refused.length < answers.length);
  }
});

test('a body is required exactly where its absence is refused', async () => {
  const { operations, request, register } = await readDocument();
  for (const operation of operations.filter(({ requestBody }) => requestBody)) {
    const { accessToken } = await register(`${operation.operationId}@example.com`);
    const { statusCode } = await request({ method: operation.method, url: operation.path, headers: bearer(accessToken) });
    expect(operation.requestBody?.required, nameOf(operation)).toBe(statusCode === 422);
  }
});

/** Every operation, in an order in which each can succeed. */
const STORY = [
  'getHealth', 'getReadiness', 'getLiveness', 'getKeys', 'register', 'resendVerification', 'verifyEmail', 'login', 'refresh', 'getMe', 'getProtected', 'listSessions', 'endSession',
  'forgotPassword', 'updateMe', 'deleteMe', 'register', 'changePassword', 'logout',
];

test('every example runs, and is answered as documented', async () => {
  const { operations, find, conforms, request, mails } = await readDocument();
  expect([...new Set(STORY)].sort()).toEqual(operations.map(({ operationId }) => operationId).sort());
  let known: { accessToken?: string; cookie?: string; id?: string; token?: string } = {};
  for (const operation of STORY.map(find)) {
    const cookie = operation.operationId === 'login' ? undefined : known.cookie; // a second session, beside the first
    const headers = { ...(operation.security && known.accessToken && bearer(known.accessToken)), ...(cookie && { cookie }) };
    const [example] = examplesOf(operation);
    const payload = example && 'token' in example ? { ...example, token: known.token } : example;
    const answer = await request(requestFor(operation, { headers, payload, ...(known.id && { id: known.id }) }));
    expect(`${operation.operationId} ${answer.statusCode} ${answer.body}`).toContain(`${operation.operationId} ${successOf(operation)[0]}`);
    const media = mediaOf(operation, answer.statusCode, JSON_TYPE);
    if (media) expect(conforms(media.schema, answer.json())).toBe('');
    const token = (await mails()).findLast((mail) => mail.token)?.token;
    known = { ...known, ...learnFrom(answer), ...(token && { token }) };
  }
});

test('the other examples of a body run as well', async () => {
  const { find, conforms, request, register, mails } = await readDocument();
  const { accessToken } = await register('john@example.com', 'quiet rivers carry old songs');
  await mails();
  expect((await request(requestFor(find('resendVerification'), { payload: examplesOf(find('resendVerification'))[1], headers: bearer(accessToken) }))).statusCode).toBe(200);
  await request(requestFor(find('forgotPassword')));
  const tokens = Object.fromEntries((await mails()).map(({ subject, token }) => [subject, token!]));
  expect(Object.keys(tokens)).toHaveLength(2);
  const [, token] = Object.values(tokens);
  const change = find('changePassword');
  const changed = await request(requestFor(change, { payload: { ...examplesOf(change)[1], token } }));
  expect(changed.json()).toEqual({ msg: 'Password changed successfully' });
  const { schema } = mediaOf(change, 200, JSON_TYPE)!;
  expect(conforms(schema, changed.json())).toBe('');
  expect(conforms(schema, { ...changed.json<object>(), access_token: 'without a user' })).not.toBe('');
});

function learnFrom(answer: Answer) {
  const cookie = cookieOf(answer);
  const body = answer.body ? answer.json<{ access_token?: string; sessions?: { id: string; current: boolean }[] }>() : {};
  const other = body.sessions?.find(({ current }) => !current)?.id;
  return { ...(cookie && { cookie: `${cookie.name}=${cookie.value}` }), ...(body.access_token && { accessToken: body.access_token }), ...(other && { id: other }) };
}

test('every error that a route can be brought to answer is listed there, and none is listed that it does not answer', async () => {
  const server = await readDocument();
  const limited = await startApp({ RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1', RATE_LIMIT_TOKENS_PER_MINUTE: '1', RATE_LIMIT_PER_MINUTE: '1' });
  const guessed = await startApp({ RATE_LIMIT_ENABLED: 'true' });
  const mailless = await startApp(WITHOUT_MAIL);
  for (const operation of server.operations) {
    const { accessToken } = await server.register(`${operation.operationId}@example.com`);
    const usual = requestFor(operation, { headers: bearer(accessToken) });
    const answers = [
      ...await provoke(server, operation, usual), ...await refuseRefresh(server, operation), ...await refuseTaken(server, operation),
      ...await refuseGuesses(guessed, operation), ...await refuseMail(mailless, operation),
    ];
    for (let times = 0; times < 2; times += 1) answers.push(await limited.request(requestFor(operation)));
    const seen = answers.filter(({ statusCode }) => statusCode >= 400);
    expect([...new Set(seen.map(problemOf))].sort(), nameOf(operation)).toEqual(problemsIn(operation).filter((problem) => !FAULTS.includes(problem.split(' ')[1]!)).sort());
    for (const answer of seen) expectProblem(server, operation, answer);
  }
});

async function provoke({ request }: TestApp, operation: Operation, usual: InjectOptions): Promise<Answer[]> {
  const examples = examplesOf(operation);
  const [example] = examples;
  const json = { 'content-type': JSON_TYPE };
  const raw = (payload: string, type = json): InjectOptions => ({ ...usual, payload, headers: { ...usual.headers, ...type } });
  const attempts: InjectOptions[] = [
    ...(examples.length > 0 ? examples : [undefined]).flatMap((payload) => [{}, bearer('rt1.a.b'), bearer('a.b.c')].map((headers) => requestFor(operation, { headers, payload }))),
    usual, usual, { ...usual, headers: { ...usual.headers, 'sec-fetch-site': 'cross-site' } },
    raw('{'), raw('x', { 'content-type': 'text/plain' }), raw(JSON.stringify({ text: 'x'.repeat(20_000) })),
    ...(example ? [{ ...usual, payload: { ...example, nonsense: 1 } }, { ...usual, payload: { ...example, password: PASSWORD } }] : []),
    ...(operation.parameters ?? []).map(({ name, in: place }) => place === 'path'
      ? { ...usual, url: operation.path.replace(`{${name}}`, 'x'.repeat(65)) } : { ...usual, url: `${operation.path}?${name}=nonsense` }),
  ];
  const answers: Answer[] = [];
  for (const attempt of attempts) answers.push(await request(attempt));
  return answers;
}

/** What only a refresh token that once was good is told. */
async function refuseRefresh({ clock, refresh, post }: TestApp, { operationId }: Operation): Promise<Answer[]> {
  if (operationId !== 'refresh') return [];
  const { refreshToken } = tokensOf(await post('/auth/register', { username: 'jane', password: PASSWORD }));
  const next = tokensOf(await refresh(refreshToken)).refreshToken;
  clock.now += 31_000;
  return [await refresh(refreshToken), await refresh(next)];
}

/** What is told who changes to a username that another account has, or holds the token of a mail when one has the address meanwhile. */
async function refuseTaken({ register, request, post, mails }: TestApp, operation: Operation): Promise<Answer[]> {
  if (operation.operationId === 'updateMe') {
    await post('/auth/register', { username: examplesOf(operation)[0]!.username, password: PASSWORD });
    const { accessToken } = await register('two@example.com');
    return [await request(requestFor(operation, { headers: bearer(accessToken), payload: { ...examplesOf(operation)[0], password: PASSWORD } }))];
  }
  if (operation.operationId !== 'verifyEmail') return [];
  const email = 'wanted@example.com';
  const { accessToken } = await register('one@example.com');
  await request({ method: 'PATCH', url: '/users/me', headers: bearer(accessToken), payload: { email, password: PASSWORD } });
  const token = (await mails()).find(({ to }) => to === email)?.token;
  await register(email);
  return [await post('/auth/verify-email', { token })];
}

/** What is told whoever gives wrong passwords again and again. */
async function refuseGuesses({ register, request }: TestApp, operation: Operation): Promise<Answer[]> {
  const example = examplesOf(operation)[0] ?? {};
  const field = ['old_password', 'password'].find((name) => name in example);
  if (field === undefined || operation.operationId === 'register') return [];
  const { accessToken } = await register(`${operation.operationId}@example.com`);
  const guess = requestFor(operation, { headers: bearer(accessToken), payload: { ...example, [field]: 'a wrong guess' } });
  const answers: Answer[] = [];
  for (let times = 0; times < 6; times += 1) answers.push(await request(guess));
  return answers;
}

/** What is told whoever asks a server for a mail that sends none. */
async function refuseMail({ register, request }: TestApp, operation: Operation): Promise<Answer[]> {
  if (!problemsIn(operation).includes('501 mail_off')) return [];
  const { accessToken } = await register(`${operation.operationId}@example.com`);
  return [await request(requestFor(operation, { headers: bearer(accessToken) }))];
}

/** The answer is the documented example but for what depends on the request. */
function expectProblem({ conforms }: Awaited<ReturnType<typeof readDocument>>, operation: Operation, answer: Answer) {
  const media = mediaOf(operation, answer.statusCode, PROBLEM_TYPE)!;
  const { code, ...problem } = answer.json<{ code: string; request_id: string; detail: string; errors?: object[] }>();
  expect(answer.headers['content-type']).toContain(PROBLEM_TYPE);
  expect(conforms(media.schema, { code, ...problem })).toBe('');
  const example = media.examples?.[code]?.value as typeof problem;
  const own = { request_id: problem.request_id, ...(/^(invalid_input|identifier_taken|rate_limited|too_many_attempts)$/.test(code) && { detail: problem.detail, errors: problem.errors }) };
  expect({ code, ...problem }).toEqual({ ...example, ...own });
}

test('registering is documented as REQUIRE_EMAIL_VERIFICATION makes it', async () => {
  const { document, find, request, conforms } = await readDocument({ REQUIRE_EMAIL_VERIFICATION: 'true' });
  expect((await new Validator().validate(structuredClone(document))).errors).toBeUndefined();
  const operation = find('register');
  expect(successOf(operation)).toEqual(['202']);
  const answer = await request(requestFor(operation));
  expect(answer.statusCode).toBe(202);
  expect(conforms(mediaOf(operation, 202, JSON_TYPE)!.schema, answer.json())).toBe('');
});

test('so is the first verification of an account, and the deletion of one that somebody else registered', async () => {
  const { find, request, post, mails, conforms } = await readDocument({ REQUIRE_EMAIL_VERIFICATION: 'true' });
  await post('/auth/register', { email: 'john@example.com', password: 'a passphrase of mallory' });
  const token = (await mails())[0]!.token!;
  const [verify, reject] = [find('verifyEmail'), find('rejectRegistration')];
  expect(problemsIn(verify)).toEqual(expect.arrayContaining([
    '422 password_required', '401 invalid_credentials', '429 too_many_attempts', '503 overloaded',
  ]));
  expect(problemsIn(reject)).not.toContain('422 password_required');
  expect(problemOf(await request(requestFor(verify, { payload: { token } })))).toBe('422 password_required');
  const answer = await request(requestFor(reject, { payload: { token } }));
  expect(answer.statusCode).toBe(200);
  expect(conforms(mediaOf(reject, 200, JSON_TYPE)!.schema, answer.json())).toBe('');
  const { operations } = await readDocument();
  expect(operations.map(({ operationId }) => operationId)).not.toContain('rejectRegistration');
});

test('the names of secret and internal columns are nowhere in the document', async () => {
  const { app } = await readDocument();
  const columns: Record<string, { name: string }>[] = [getTableColumns(users), getTableColumns(sessions)];
  const names = columns.flatMap((table) => Object.entries(table)).flatMap(([key, { name }]) => [key, name]);
  const internal = names.filter((name) => !PUBLIC_NAMES.includes(name));
  expect(internal).toEqual(expect.arrayContaining(['password_hash', 'token_hash', 'tokenHash', 'key_id']));
  const text = JSON.stringify(app.swagger());
  expect(internal.filter((name) => text.includes(name))).toEqual([]);
});

test('a route names the other paths at which it answers, as long as it answers there', async () => {
  const { find, operations } = await readDocument();
  expect(find('refresh').description).toMatch(/Also at `\/refresh`, `\/api\/refresh`, `\/refresh-token`, `\/api\/refresh-token`\.$/);
  expect(find('getMe').description).toContain('`/profile`, `/api/profile`');
  expect(operations.map(({ path }) => path)).toContain('/protected');
  const { document } = await readDocument({ COMPAT_ROUTES: 'false' });
  expect(JSON.stringify(document)).not.toMatch(/Also at|protected/);
});

test('the pages may load and style only what is theirs, and data may load nothing', async () => {
  const { get } = await startApp();
  for (const url of ['/docs', '/redoc']) {
    const policy = String((await get(url)).headers['content-security-policy']);
    expect(policy).toMatch(/^default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';/);
    expect(policy).not.toMatch(/unsafe|blob:|https?:|\*/);
  }
  expect((await get('/openapi.json')).headers['content-security-policy']).toMatch(/^default-src 'none';base-uri 'none';form-action 'none';frame-ancestors 'none'$/);
  expect((await get('/redoc/redoc.js')).body).not.toContain('cdn.redoc.ly');
});

test('each large document has an ETag; whoever has it already gets 304 and no body, and HEAD says its length', async () => {
  const { request } = await startApp();
  const statics = ['swagger-ui-bundle.js', 'swagger-ui.css', 'logo.svg'].map((name) => `/docs/static/${name}`);
  for (const url of ['/openapi.json', '/docs/json', '/docs/yaml', '/redoc', '/redoc/redoc.js', '/client.js', ...statics]) {
    const { headers, rawPayload } = await request({ method: 'GET', url });
    expect(headers, url).toMatchObject({ etag: expect.stringMatching(/^"[\w-]{43}"$/), 'cache-control': expect.not.stringContaining('no-store') });
    const again = await request({ method: 'GET', url, headers: { 'if-none-match': String(headers.etag) } });
    expect([again.statusCode, again.body, again.headers.etag], url).toEqual([304, '', headers.etag]);
    const head = await request({ method: 'HEAD', url });
    expect([head.statusCode, head.body, head.headers['content-length']], url).toEqual([200, '', String(rawPayload.length)]);
  }
});

test('DOCS=false leaves no page', async () => {
  const on = await startApp();
  for (const url of PAGES) expect((await on.get(url)).statusCode, url).toBeLessThan(400);
  const off = await startApp({ DOCS: 'false' });
  for (const url of PAGES) expect((await off.get(url)).statusCode, url).toBe(404);
});

test('without the package redoc, which production may leave out, the server starts and says so', async () => {
  const { existsSync } = fs;
  const spy = vi.spyOn(fs, 'existsSync').mockImplementation((path) => !String(path).includes('redoc') && existsSync(path));
  onTestFinished(() => {
    spy.mockRestore();
    syncBuiltinESMExports();
  });
  syncBuiltinESMExports();
  const { get, events } = await startApp();
  expect((await get('/redoc')).statusCode).toBe(404);
  expect((await get('/docs')).statusCode).toBe(200);
  expect(events()).toContain('redoc_missing');
});
