import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../src/config.ts';
import { addMark, parseMarks } from '../src/core/devices.ts';
import { bearer, cookieOf, DAY_MS, PASSWORD, problemOf, startApp, temporaryFolder, type TestApp, tokensOf } from './support/app.ts';

type Answer = Awaited<ReturnType<TestApp['request']>>;

const LIMITED = { RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1000000' };
const PRODUCTION = { NODE_ENV: 'production', ARGON2_MEMORY_KIB: '7168', ARGON2_TIME_COST: '5' };
const JOHN = 'john@example.com';
const MARK = /^[\w-]{22}\.\d{5}\.[\w-]{12}\.[\w-]{43}$/;

const deviceOf = (answer: Answer) => answer.cookies.find(({ name }) => name.endsWith('device'));
const asCookie = (value: string) => ({ cookie: `device=${value}` });
const login = ({ post }: TestApp, email = JOHN, device?: string, password = PASSWORD) =>
  post('/auth/login', { email, password }, device === undefined ? {} : asCookie(device));

/** Signs up, and yields the value of the device's cookie. */
async function signUp({ post }: TestApp, email = JOHN, device?: string) {
  const answer = await post('/auth/register', { email, password: PASSWORD }, device === undefined ? {} : asCookie(device));
  expect(answer.statusCode).toBe(201);
  return deviceOf(answer)!.value;
}

/** Guesses as a stranger until strangers have to wait. */
async function lockStrangersOut(testApp: TestApp, email = JOHN) {
  for (let guess = 0; guess < 5; guess += 1) await login(testApp, email, undefined, 'a wrong guess');
  expect(problemOf(await login(testApp, email))).toBe('429 too_many_attempts');
}

/** What the device is to the account while strangers have to wait. */
const standing = async (testApp: TestApp, device: string, email = JOHN, password = PASSWORD) =>
  ({ 200: 'known', 429: 'stranger' })[(await login(testApp, email, device, password)).statusCode];

describe('the device cookie', () => {
  test.each<[string, Record<string, string>, string]>([
    ['on plain http outside production', {}, 'device=VALUE; Max-Age=34560000; Path=/; HttpOnly; SameSite=Strict'],
    ['in production', PRODUCTION, '__Host-device=VALUE; Max-Age=34560000; Path=/; HttpOnly; Secure; SameSite=Strict'],
    ['with COOKIE_SAMESITE=none', { COOKIE_SAMESITE: 'none' }, '__Host-device=VALUE; Max-Age=34560000; Path=/; HttpOnly; Secure; Partitioned; SameSite=None'],
  ])('%s has this name and these attributes', async (_name, env, expected) => {
    const { post } = await startApp(env);
    const answer = await post('/auth/register', { email: JOHN, password: PASSWORD });
    const { value } = deviceOf(answer)!;
    const line = (answer.headers['set-cookie'] as string[]).find((each) => each.includes('device='))!;
    expect(value).toMatch(MARK);
    expect(line.replace(value, 'VALUE')).toBe(expected);
  });

  test('is set by every successful sign-up and sign-in, and by nothing else; signing out leaves it', async () => {
    const testApp = await startApp(LIMITED);
    const { post, refresh } = testApp;
    const device = await signUp(testApp);
    const signedIn = await login(testApp, JOHN, device);
    expect(deviceOf(signedIn)?.value).toMatch(MARK);
    const tokens = tokensOf(signedIn);
    const refreshed = await refresh(tokens.refreshToken);
    const others = [
      refreshed, await login(testApp, JOHN, device, 'a wrong guess'), await login(testApp, 'nobody@example.com', device), await post('/auth/login', { email: JOHN }, asCookie(device)),
      await post('/auth/register', { email: JOHN, password: PASSWORD }, asCookie(device)), await post('/auth/change-password', { old_password: 'a wrong guess', new_password: 'another passphrase' }, { ...bearer(tokens.accessToken), ...asCookie(device) }),
      await post('/auth/logout', { refresh_token: cookieOf(refreshed)!.value }, asCookie(device)),
    ];
    expect(others.map(({ statusCode }) => statusCode)).toEqual([200, 401, 401, 422, 409, 401, 200]);
    for (const answer of others) expect(deviceOf(answer)).toBeUndefined();
    await lockStrangersOut(testApp);
    expect(deviceOf(await login(testApp))).toBeUndefined();
    expect(await standing(testApp, device)).toBe('known');
  });

  test('signs nobody in, names nobody, and is another after each sign-in', async () => {
    const testApp = await startApp();
    const first = await signUp(testApp);
    const again = deviceOf(await login(testApp, JOHN, first))!.value;
    const { userId } = await testApp.login();
    expect(again.split('~')).toHaveLength(1);
    expect(again.split('.')[0]).not.toBe(first.split('.')[0]);
    for (const text of [first, Buffer.from(first, 'base64url').toString('latin1')]) for (const secret of [userId, JOHN, 'john']) expect(text).not.toContain(secret);
    for (const headers of [asCookie(first), bearer(first), { cookie: `refresh_token=${first}` }]) {
      expect((await testApp.request({ method: 'GET', url: '/users/me', headers })).statusCode).toBe(401);
      expect((await testApp.post('/auth/refresh', undefined, headers)).statusCode).toBe(401);
    }
  });
});

describe('a device is known', () => {
  test('to each account that signed in there, up to four; then the one longest ago is forgotten', async () => {
    const testApp = await startApp(LIMITED);
    const emails = ['a', 'b', 'c', 'd', 'e'].map((name) => `${name}@example.com`);
    let device: string | undefined;
    for (const email of emails) device = await signUp(testApp, email, device);
    expect(device!.split('~')).toHaveLength(4);
    expect(device!.length).toBeLessThan(400);
    for (const email of emails) await lockStrangersOut(testApp, email);
    expect(await Promise.all(emails.map((email) => standing(testApp, device!, email)))).toEqual(['stranger', 'known', 'known', 'known', 'known']);
    const renewed = deviceOf(await login(testApp, 'b@example.com', device))!.value;
    expect(renewed.split('~')).toHaveLength(4);
    for (const email of emails.slice(1)) expect(await standing(testApp, renewed, email)).toBe('known');
  });

  test('by whichever identifier the account signs in', async () => {
    const testApp = await startApp(LIMITED);
    const { post } = testApp;
    const device = deviceOf(await post('/auth/register', { email: JOHN, username: 'john', password: PASSWORD }))!.value;
    for (const identifier of [{ email: JOHN }, { username: 'JOHN' }]) {
      const guess = (password: string, headers = {}) => post('/auth/login', { ...identifier, password }, headers);
      for (let time = 0; time < 5; time += 1) await guess('a wrong guess');
      expect((await guess(PASSWORD)).statusCode).toBe(429);
      expect((await guess(PASSWORD, asCookie(device))).statusCode).toBe(200);
    }
  });

  test('by any of several cookies of the name, whatever else is in them', async () => {
    const testApp = await startApp(LIMITED);
    const device = await signUp(testApp);
    const other = await signUp(testApp, 'jane@example.com');
    await lockStrangersOut(testApp);
    for (const cookie of [`device=${other}; device=${device}`, `device=${device}; device=${other}`, `device=rubbish~${device}~~%00; device=; device=~`, `device=${'x'.repeat(4000)}; device=${device}`]) {
      expect((await testApp.post('/auth/login', { email: JOHN, password: PASSWORD }, { cookie })).statusCode).toBe(200);
    }
  });

  test('by its newest marks, in whichever of several cookies they are', async () => {
    const testApp = await startApp(LIMITED);
    let old: string | undefined;
    for (const email of ['a', 'b', 'c', 'd']) old = await signUp(testApp, `${email}@example.com`, old);
    testApp.clock.now += DAY_MS;
    const device = await signUp(testApp);
    await lockStrangersOut(testApp);
    for (const cookies of [[old!, device], [device, old!]]) {
      const headers = { cookie: cookies.map((value) => `device=${value}`).join('; ') };
      expect((await testApp.post('/auth/login', { email: JOHN, password: PASSWORD }, headers)).statusCode).toBe(200);
    }
  });

  test('still after a sign-out, and after the server was started again with a newer key in front; not without its key', async () => {
    const [old, fresh] = ['aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA', 'zY1xW8vU7tS6rQ5pO4nM3lK2jI9hG0fE'];
    const DATA_DIR = temporaryFolder();
    const device = await signUp(await startApp({ ...LIMITED, DATA_DIR, SECRET_KEY: old }));
    const rotated = await startApp({ ...LIMITED, DATA_DIR, SECRET_KEY: `${fresh},${old}` });
    await lockStrangersOut(rotated);
    expect(await standing(rotated, device)).toBe('known');
    const retired = await startApp({ ...LIMITED, DATA_DIR, SECRET_KEY: fresh });
    expect(await standing(retired, device)).toBe('stranger');
  });
});

describe('a device is a stranger', () => {
  test.each<[string, (value: string) => string]>([
    ['id', (value) => value.replace(/^./, (first) => (first === 'A' ? 'B' : 'A'))],
    ['day', (value) => value.replace(/\.(\d{5})\./, (_all, day: string) => `.${Number(day) - 1}.`)],
    ['key', (value) => value.replace(/^(.{22}\.\d{5}\.).{12}/, '$1AAAAAAAAAAAA')],
    ['signature', (value) => value.slice(0, -2) + (value.endsWith('AA') ? 'BA' : 'AA')],
    ['length', (value) => value.slice(0, -1)],
    ['end', (value) => `${value}A`],
    ['encoding', (value) => value.replaceAll('.', '%2E')],
  ])('when the cookie’s %s was altered', async (_name, alter) => {
    const testApp = await startApp(LIMITED);
    const device = await signUp(testApp);
    await lockStrangersOut(testApp);
    expect(alter(device)).not.toBe(device);
    expect(await standing(testApp, alter(device))).toBe('stranger');
    expect(await standing(testApp, device)).toBe('known');
  });

  test('to accounts that never signed in there, and to none that does not exist', async () => {
    const testApp = await startApp(LIMITED);
    const device = await signUp(testApp, 'jane@example.com');
    await signUp(testApp);
    for (const email of [JOHN, 'nobody@example.com']) {
      await lockStrangersOut(testApp, email);
      expect(await standing(testApp, device, email)).toBe('stranger');
    }
  });

  test('under the name of plain http where the cookie must be Secure', async () => {
    const testApp = await startApp({ ...LIMITED, ...PRODUCTION });
    const device = await signUp(testApp);
    await lockStrangersOut(testApp);
    expect(await standing(testApp, device)).toBe('stranger');
    expect((await testApp.post('/auth/login', { email: JOHN, password: PASSWORD }, { cookie: `__Host-device=${device}` })).statusCode).toBe(200);
  });

  test('400 days after its last sign-in, or when it says to be of the day after tomorrow', async () => {
    const testApp = await startApp(LIMITED);
    const device = await signUp(testApp);
    const start = testApp.clock.now;
    for (const [days, expected] of [[399, 'known'], [400, 'stranger'], [-1, 'known'], [-2, 'stranger']] as const) {
      testApp.clock.now = start + days * DAY_MS;
      await lockStrangersOut(testApp);
      expect(await standing(testApp, device)).toBe(expected);
      await testApp.app.store.throttles.purge(Number.MAX_SAFE_INTEGER);
    }
  });

  test('after the password was changed, whoever changed it: a thief who knew the old one gains nothing; the device that changed it stays known', async () => {
    const testApp = await startApp(LIMITED);
    const thief = await signUp(testApp);
    const owner = await login(testApp);
    testApp.clock.now += 1;
    const change = await testApp.post('/auth/change-password', { old_password: PASSWORD, new_password: 'another passphrase' }, { ...bearer(tokensOf(owner).accessToken), ...asCookie(deviceOf(owner)!.value) });
    expect(change.statusCode).toBe(200);
    await lockStrangersOut(testApp);
    const standingNow = (device: string) => standing(testApp, device, JOHN, 'another passphrase');
    for (const device of [thief, deviceOf(owner)!.value]) expect(await standingNow(device)).toBe('stranger');
    expect(await standingNow(deviceOf(change)!.value)).toBe('known');
  });

  test('to a new account that took the name of a deleted one', async () => {
    const testApp = await startApp(LIMITED);
    const { app } = testApp;
    const device = await signUp(testApp);
    const [user] = await app.store.users.findByIdentifier(JOHN, null);
    await app.store.transact([app.store.users.remove(user!)]);
    await signUp(testApp);
    await lockStrangersOut(testApp);
    expect(await standing(testApp, device)).toBe('stranger');
  });
});

test('a mark is HMAC-SHA-256 over id, day, account and time of the password, with a key of its own', () => {
  const config = loadConfig({ DATA_DIR: temporaryFolder(), SECRET_KEY: 'aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA' });
  const core = { config, now: () => 20_000 * DAY_MS + 1 };
  const user = { id: 'the-id-of-a-user', passwordChangedAt: 1234 } as Parameters<typeof addMark>[2];
  const [mark] = parseMarks(core, [addMark(core, [], user)]);
  const [{ id: keyId, deviceKey, ...otherKeys }] = config.secrets.derivedKeys;
  expect(mark).toEqual({
    id: expect.stringMatching(/^[\w-]{22}$/), day: 20_000, keyId,
    signature: createHmac('sha256', deviceKey).update(`${mark!.id}|20000|the-id-of-a-user|1234`).digest('base64url'),
  });
  for (const other of Object.values(otherKeys)) expect(other.equals(deviceKey)).toBe(false);
});
