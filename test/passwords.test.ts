import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { bearer, PASSWORD, startApp, tokensOf } from './support/app.ts';

const COMMON = 'must not be one of the commonest passwords';
const MERE = 'must not be a mere repetition or sequence';
const BREACHED = 'must not be one that was in a data breach (Have I Been Pwned knows it)';
const named = (what: string) => `must not be ${what}, with or without digits and punctuation after it`;

type Case = [password: string, identity: object, fault: string | undefined];

/** Registers each password; yields the cases with what the 422 says, which must not repeat the password. */
async function judge(cases: Case[], env: Record<string, string> = {}): Promise<Case[]> {
  const { post, logLines } = await startApp(env);
  const judged: Case[] = [];
  for (const [password, identity] of cases) {
    logLines.length = 0;
    const answer = await post('/auth/register', { ...identity, password });
    const { errors = [] } = answer.json<{ errors?: { pointer: string; detail: string }[] }>();
    expect([answer.statusCode, errors.length]).toEqual(errors.length > 0 ? [422, 1] : [201, 0]);
    expect(errors.every(({ pointer }) => pointer === '/password')).toBe(true);
    if (errors.length > 0 && password !== 'password') expect(answer.body + logLines.join('')).not.toContain(password);
    judged.push([password, identity, errors[0]?.detail]);
  }
  return judged;
}

describe('a new password is refused, and the answer names the rule', () => {
  test('one of the commonest', async () => {
    const passwords = ['password', 'Password1', 'qwertyuiop', 'qwertyuiopasdfghjklzxcvbnm', 'manchesterunited', '1q2w3e4r5t6y7u8i9o0p', '12345678', 'abcdefgh', 'aaaaaaaa'];
    const cases = passwords.map((password): Case => [password, { username: 'john' }, COMMON]);
    expect(await judge(cases)).toEqual(cases);
  });

  test('one of the commonest with digits and punctuation after it or written twice, and a well-known phrase', async () => {
    const passwords = [
      'administrator123', 'password12345678', 'Password2026!', 'superman!!', 'PasswordPassword', 'iloveyouiloveyou', 'baseballbaseballbaseball',
      'correct horse battery staple', 'Correct Horse Battery Staple', 'correct-horse-battery-staple', 'Tr0ub4dor&3', 'the quick brown fox',
    ];
    const cases = passwords.map((password): Case => [password, { username: 'john' }, COMMON]);
    expect(await judge(cases)).toEqual(cases);
  });

  test('the sample of a document, but for development, where the documents’ commands run as they are', async () => {
    const samples = ['securepassword123', 'Password123', 'oldpassword', 'newpassword123', 'newSecurePassword123', 'testpassword'];
    const refused = samples.map((password): Case => [password, { username: 'john' }, COMMON]);
    expect(await judge(refused)).toEqual(refused);
    expect(await judge(refused, { NODE_ENV: 'production', ARGON2_MEMORY_KIB: '', ARGON2_TIME_COST: '', RATE_LIMIT_ENABLED: 'true' })).toEqual(refused);
    const development = { NODE_ENV: 'development', ARGON2_MEMORY_KIB: '', ARGON2_TIME_COST: '' };
    const allowed = samples.map((password, index): Case => [password, { username: `user${index}` }, undefined]);
    const others: Case[] = [['Password1234', { username: 'john' }, COMMON], ['password', { username: 'john' }, COMMON]];
    expect(await judge([...allowed, ...others], development)).toEqual([...allowed, ...others]);
  });

  test('a repetition or a sequence, of any length', async () => {
    const passwords = ['zzzzzzzzzzzzz', '☕☕☕☕☕☕☕☕', 'xyxyxyxyxyxyxyxy', 'q7!q7!q7!q7', 'bcdefghijklm', 'zyxwvutsrqponm', '45678901234567890', '543210987654321', 'абвгдежз'];
    const cases = passwords.map((password): Case => [password, { username: 'john' }, MERE]);
    expect(await judge(cases)).toEqual(cases);
  });

  test('one’s own name or address, or the service’s', async () => {
    const cases: Case[] = [
      ['John.Doe@Example.com', { email: 'john.doe@example.com' }, named('your e-mail address')],
      ['john.doe@example.com2026!', { email: 'john.doe@example.com' }, named('your e-mail address')],
      ['john.doe', { email: 'JOHN.DOE@example.com' }, named('the name in your e-mail address')],
      ['John.Doe1984', { email: 'john.doe@example.com' }, named('the name in your e-mail address')],
      ['JOHN_DOE', { email: 'jd@example.com', username: 'john_doe' }, named('your username')],
      ['john_doe!!', { username: 'john_doe' }, named('your username')],
      ['jane99 2026', { username: 'jane99' }, named('your username')],
      ['Keyturn2026', { username: 'john' }, named('a name of this service')],
    ];
    expect(await judge(cases)).toEqual(cases);
  });

  test('a word of PASSWORD_BLOCKED_WORDS', async () => {
    const cases: Case[] = [
      ['ACME BANK 1', { username: 'john' }, named('a name of this service')],
      ['login.acme.example', { username: 'john' }, named('a name of this service')],
      ['Keyturn2026', { username: 'john' }, undefined],
    ];
    expect(await judge(cases, { PASSWORD_BLOCKED_WORDS: 'Acme Bank, login.acme.example' })).toEqual(cases);
  });

  test('also when it is changed', async () => {
    const { post } = await startApp();
    const { accessToken } = tokensOf(await post('/auth/register', { email: 'jane.roe@example.com', username: 'janeroe', password: PASSWORD }));
    const change = async (new_password: string) => (await post('/auth/change-password', { old_password: PASSWORD, new_password }, bearer(accessToken))).json<{ errors: object[] }>().errors;
    expect(await change('baseball')).toEqual([{ pointer: '/new_password', detail: COMMON }]);
    expect(await change('Jane.Roe@example.com')).toEqual([{ pointer: '/new_password', detail: named('your e-mail address') }]);
    expect(await change('janeroe1')).toEqual([{ pointer: '/new_password', detail: named('your username') }]);
  });
});

test('a new password passes that is like one of those, and no such', async () => {
  const passwords = [
    'password1 and more', 'pASSWORD1', 'john and jane', 'user0 is somebody', '1johnny_', 'abcdefgi', 'aaaaaaab', 'efgxefgx', 'пароль мой',
    '密码密码密密码码', '👩‍👩‍👧 family', 'a space at the end ', '   x y z', 'correct\0horse',
  ];
  const cases = passwords.map((password, index): Case => [password, { username: `user${index}` }, undefined]);
  const short: Case[] = [['tom20262026', { username: 'tom' }, undefined], ['johnny & jane', { username: 'johnny' }, undefined], ['example.com', { email: 'tom@example.com' }, undefined]]; // a name of three letters is no rule
  expect(await judge([...cases, ...short])).toEqual([...cases, ...short]);
});

test('every line of the list is refused, each can be chosen at all, and ten thousand and more there are', async () => {
  const list = readFileSync('src/core/common-passwords.txt', 'utf8').trimEnd().split('\n');
  expect(list.length).toBeGreaterThan(60_000);
  expect(list.filter((password) => Array.from(password).length < 8 || password !== password.normalize('NFC'))).toEqual([]);
  expect(list.filter((password) => Array.from(password).length >= 15).length).toBeGreaterThan(1000);
  const { isCommonPassword } = await import('../src/core/common-passwords.ts');
  expect(list.filter((password) => !isCommonPassword(password))).toEqual([]);
  expect(list.filter((password) => isCommonPassword(`${password}\0`) || isCommonPassword(`\0${password}`))).toEqual([]);
  expect(['', '\n', list[0]!.slice(1), `${list[0]}\n${list[1]}`, `${list.at(-1)}\n`, '\uffff'].filter(isCommonPassword)).toEqual([]);
});

describe('Have I Been Pwned', () => {
  type Reply = (response: ServerResponse, suffix: string) => void;
  const sha1 = (password: string) => createHash('sha1').update(password.normalize('NFC')).digest('hex').toUpperCase();
  const OTHERS = ['0018A45C4D1DEF81644B54AB7F969B88D65:10', '00D4F6E8FA6EECAD2A3AA415EEC418D38EC:2'];
  const PADDING = ['012C192B2F16F82EA0EB9EF18D9D539B0DD:0', '013A7F0D2B3F4C5A6978869504132F1E0DC:0'];

  /** A server of the range protocol that answers for one password, and the app that asks it. */
  async function startWith(password: string, reply: Reply, env: Record<string, string> = {}) {
    const requests: IncomingMessage[] = [];
    const server = createServer((request, response) => {
      requests.push(request);
      reply(response, sha1(password).slice(5));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => { server.closeAllConnections(); server.close(); });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/range/`;
    const app = await startApp({ HIBP: 'true', HIBP_URL: url, ...env });
    return { ...app, requests, server, register: () => app.post('/auth/register', { username: 'john', password }) };
  }
  const lines = (...all: string[]): Reply => (response) => response.end(all.join('\r\n'));
  const known: Reply = (response, suffix) => response.end([...OTHERS, `${suffix}:42`, ...PADDING].join('\r\n'));

  test('is asked for a known password, which is refused, and only five digits of its hash leave', async () => {
    const password = 'Zoë’s long passphrase'.normalize('NFD');
    const { register, requests, post } = await startWith(password, known);
    const answer = await register();
    expect(answer.json()).toMatchObject({ status: 422, errors: [{ pointer: '/password', detail: BREACHED }] });
    expect(requests).toHaveLength(1);
    const [{ method, url, headers, rawHeaders }] = requests as [IncomingMessage];
    expect([method, url]).toEqual(['GET', `/range/${sha1(password).slice(0, 5)}`]);
    expect(headers).toMatchObject({ 'add-padding': 'true', 'user-agent': 'keyturn' });
    expect(rawHeaders.join().toUpperCase()).not.toContain(sha1(password).slice(5, 12));
    expect((await post('/auth/login', { username: 'john', password })).statusCode).toBe(401);
    expect(requests).toHaveLength(1);
  });

  test('is asked when a password is changed, and not when another rule refuses it', async () => {
    const { post, requests } = await startWith('another long passphrase', known);
    const { accessToken } = tokensOf(await post('/auth/register', { username: 'john', password: PASSWORD }));
    const change = async (new_password: string) => (await post('/auth/change-password', { old_password: PASSWORD, new_password }, bearer(accessToken))).json<{ errors: { detail: string }[] }>().errors[0]?.detail;
    expect(await change('another long passphrase')).toBe(BREACHED);
    expect(await change('baseball')).toBe(COMMON);
    expect(await change('short')).toBe('must have at least 8 characters');
    expect(requests.map(({ url }) => url)).toEqual([PASSWORD, 'another long passphrase'].map((password) => `/range/${sha1(password).slice(0, 5)}`));
  });

  test.each<[string, Reply]>([
    ['others only', lines(...OTHERS)],
    ['padding with its own suffix', (response, suffix) => response.end([...OTHERS, `${suffix}:0`, ...PADDING].join('\r\n'))],
    ['nothing', lines()],
  ])('answers with %s: the password passes', async (_name, reply) => {
    const { register, events } = await startWith('a passphrase of no breach', reply);
    expect((await register()).statusCode).toBe(201);
    expect(events()).not.toContain('hibp_unavailable');
  });

  test.each<[string, string, Reply]>([
    ['with an error', 'the answer has status 503', (response) => response.writeHead(503).end('0018A45C4D1DEF81644B54AB7F969B88D65:10')],
    ['with a redirect', 'no sound answer', (response, suffix) => (response.req.url === '/elsewhere' ? response.end(`${suffix}:42`) : response.writeHead(302, { location: '/elsewhere' }).end())],
    ['with something else', 'the answer is not of the range API', (response, suffix) => response.end(`<html>${suffix}:42</html>`)],
    ['with no end', 'the answer is too long', (response) => void response.end(`${OTHERS[0]}\r\n`.repeat(50_000))],
    ['too slowly', 'no answer in time', (response) => void response.write('0018A45')],
    ['not at all', 'no answer in time', () => undefined],
    ['by closing the connection', 'UND_ERR_SOCKET', (response) => void response.destroy()],
  ])('answers %s: the password passes after a second at most, and the log says why', async (_name, reason, reply) => {
    const password = 'a passphrase of no breach';
    const { register, logLines } = await startWith(password, reply);
    const limit = vi.spyOn(AbortSignal, 'timeout');
    expect((await register()).statusCode).toBe(201);
    expect(limit.mock.calls).toEqual([[1000]]);
    limit.mockRestore();
    const logged = logLines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ event }) => event === 'hibp_unavailable');
    expect(logged).toEqual([expect.objectContaining({ level: 40, reason })]);
    for (const part of ['passphrase', sha1(password).slice(0, 5), sha1(password).slice(5)]) expect(JSON.stringify(logged).toUpperCase()).not.toContain(part.toUpperCase());
  });

  test('is down: the password passes; and it is not asked unless HIBP is on', async () => {
    const down = await startWith('a passphrase of no breach', known);
    down.server.close();
    expect((await down.register()).statusCode).toBe(201);
    expect(down.logLines.join('')).toContain('"reason":"ECONNREFUSED"');
    const off = await startWith('a passphrase of a breach', known, { HIBP: 'false' });
    expect((await off.register()).statusCode).toBe(201);
    expect(off.requests).toEqual([]);
  });

  test('is asked alike for an address that is taken and one that is not', async () => {
    const { post, requests } = await startWith('a passphrase of a breach', known);
    await post('/auth/register', { email: 'john@example.com', password: PASSWORD });
    const answers = await Promise.all(['john@example.com', 'jane@example.com'].map((email) => post('/auth/register', { email, password: 'a passphrase of a breach' })));
    expect(answers.map(({ statusCode }) => statusCode)).toEqual([422, 422]);
    expect(requests).toHaveLength(3);
  });
});
