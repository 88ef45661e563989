import { describe, expect, test, vi } from 'vitest';
import { bearer, DAY_MS, PASSWORD, problemOf, startApp, temporaryFolder, type TestApp } from './support/app.ts';

const JOHN = 'john@example.com';
const HOUR_MS = 3_600_000;
const MALLORYS = 'a passphrase of mallory';
const QUIET = { REQUIRE_EMAIL_VERIFICATION: 'true' };
const LIMITED = { RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1000000' };

type Answer = Awaited<ReturnType<TestApp['request']>>;

const register = ({ post }: TestApp, password = PASSWORD, email = JOHN, headers: Record<string, string> = {}) =>
  post('/auth/register', { email, password }, headers);
const verify = ({ post }: TestApp, token: string | null, more: object = {}, headers: Record<string, string> = {}) =>
  post('/auth/verify-email', { token, ...more }, headers);
const reject = ({ post }: TestApp, token: string | null) => post('/auth/verify-email/reject', { token });
const signIn = ({ post }: TestApp, password = PASSWORD, email = JOHN) => post('/auth/login', { email, password });
const cookieIn = (answer: Answer) => ({ cookie: answer.cookies.map(({ name, value }) => `${name}=${value}`).join('; ') });

/** Somebody has registered John's address, and John has got the mail. */
async function startRegistered(password = PASSWORD, env: Record<string, string> = {}) {
  const testApp = await startApp({ ...QUIET, ...env });
  const registered = await register(testApp, password);
  const [mail] = await testApp.mails();
  const find = async () => (await testApp.app.store.users.findByIdentifier(JOHN, null))[0];
  return { ...testApp, testApp, registered, token: mail!.token!, find };
}

describe('the first verification of an account that is of no use before it', () => {
  test('does not hand it to the stranger who registered: the owner’s click is not enough', async () => {
    const { testApp, token, find, eventsOf } = await startRegistered(MALLORYS);
    const user = (await find())!;
    const answer = await verify(testApp, token);
    expect(answer.json()).toMatchObject({ status: 422, code: 'password_required', errors: [{ pointer: '/password' }] });
    expect(await eventsOf(() => verify(testApp, token))).toEqual([
      { event: 'verification_refused', reason: 'password_required', user_id: user.id, ip: '127.0.0.1' },
    ]);
    expect(await find()).toEqual(user);
    expect((await signIn(testApp, MALLORYS)).statusCode).toBe(401);
  });

  test('comes from the browser that registered, by its cookie', async () => {
    const { testApp, registered, token, find } = await startRegistered();
    expect((await verify(testApp, token, {}, cookieIn(registered))).statusCode).toBe(200);
    expect(await find()).toMatchObject({ verifyBy: null, emailVerifiedAt: testApp.clock.now });
    expect((await signIn(testApp)).statusCode).toBe(200);
  });

  test('or with the password that was chosen; with another it is refused, and the link still works', async () => {
    const { testApp, token, eventsOf } = await startRegistered();
    expect(problemOf(await verify(testApp, token, { password: 'a wrong guess' }))).toBe('401 invalid_credentials');
    expect(await eventsOf(() => verify(testApp, token, { password: PASSWORD }))).toEqual([
      expect.objectContaining({ event: 'email_verified' }),
    ]);
    expect((await signIn(testApp)).statusCode).toBe(200);
  });

  test('throttles wrong passwords like any; those of strangers at the sign-in do not count', async () => {
    const { testApp, token } = await startRegistered(PASSWORD, LIMITED);
    for (let guess = 0; guess < 8; guess += 1) await signIn(testApp, 'a wrong guess');
    const answers: string[] = [];
    for (let guess = 0; guess < 6; guess += 1) answers.push(problemOf(await verify(testApp, token, { password: 'a wrong guess' })));
    expect(answers).toEqual([...Array<string>(5).fill('401 invalid_credentials'), '429 too_many_attempts']);
    const throttled = await verify(testApp, token, { password: PASSWORD });
    expect([problemOf(throttled), throttled.headers['retry-after']]).toEqual(['429 too_many_attempts', '1']);
    testApp.clock.now += 1000;
    expect((await verify(testApp, token, { password: PASSWORD })).statusCode).toBe(200);
    expect((await signIn(testApp)).statusCode).toBe(200);
  });

  test('is also a reset by mail, which replaces the stranger’s password', async () => {
    const { testApp, find } = await startRegistered(MALLORYS);
    await testApp.post('/auth/forgot-password', { email: JOHN });
    const [mail] = await testApp.mails();
    expect((await testApp.post('/auth/change-password', { token: mail!.token, new_password: PASSWORD })).statusCode).toBe(200);
    expect(await find()).toMatchObject({ verifyBy: null });
    expect([(await signIn(testApp)).statusCode, (await signIn(testApp, MALLORYS)).statusCode]).toEqual([200, 401]);
  });

  test('needs no proof where registering signs in', async () => {
    const testApp = await startApp();
    await testApp.register();
    const [mail] = await testApp.mails();
    expect((await verify(testApp, mail!.token)).statusCode).toBe(200);
    expect((await reject(testApp, mail!.token)).statusCode).toBe(404);
  });

  test('is asked of accounts from before REQUIRE_EMAIL_VERIFICATION, too; those are never deleted', async () => {
    const DATA_DIR = temporaryFolder();
    const before = await startApp({ DATA_DIR });
    const { accessToken } = await before.register();
    const [mail] = await before.mails();
    const after = await startApp({ ...QUIET, DATA_DIR });
    expect(problemOf(await verify(after, mail!.token))).toBe('422 password_required');
    expect(problemOf(await reject(after, mail!.token))).toBe('400 link_invalid');
    after.clock.now += 400 * DAY_MS;
    expect(await after.app.store.users.purgeUnverified(after.clock.now)).toBe(0);
    after.clock.now -= 400 * DAY_MS;
    expect((await after.get('/users/me', accessToken)).statusCode).toBe(200);
    expect((await verify(after, mail!.token, { password: PASSWORD })).statusCode).toBe(200);
  });
});

describe('the cookie of the browser that registered', () => {
  test('is set alike for a free and a taken address, and while nothing is written', async () => {
    const testApp = await startApp({ ...QUIET, ...LIMITED });
    const lines: string[] = [];
    for (const email of [JOHN, JOHN, 'jane@example.com', JOHN, JOHN, JOHN]) {
      const header = String((await register(testApp, PASSWORD, email)).headers['set-cookie']);
      lines.push(header.replace(/=[\w-]{12}\.[\w-]{43};/, '=MARK;'));
    }
    expect(new Set(lines)).toEqual(new Set(['registrant=MARK; Max-Age=691200; Path=/; HttpOnly; SameSite=Strict']));
  });

  test('verifies no account that another browser registered, whatever is in it', async () => {
    const { testApp, registered, token } = await startRegistered(MALLORYS);
    const again = await register(testApp); // the owner, whose address is taken
    const { value } = registered.cookies[0]!;
    const altered = [
      value.slice(0, -2), `${value}A`, value.replace(/^.{12}/, 'AAAAAAAAAAAA'), value.replace(/.$/, (last) => (last === 'A' ? 'E' : 'A')), '', '~', 'x'.repeat(56),
    ];
    for (const cookie of [cookieIn(again).cookie, ...altered.map((text) => `registrant=${text}`), `device=${value}`]) {
      expect(problemOf(await verify(testApp, token, {}, { cookie })), cookie).toBe('422 password_required');
    }
    expect((await verify(testApp, token, {}, { cookie: `registrant=x; registrant=${altered[0]}~${value}` })).statusCode).toBe(200);
  });

  test('remembers the last four accounts of a browser', async () => {
    const testApp = await startApp(QUIET);
    let headers: Record<string, string> = {};
    const emails = ['a', 'b', 'c', 'd', 'e'].map((name) => `${name}@example.com`);
    for (const email of emails) headers = cookieIn(await register(testApp, PASSWORD, email, headers));
    const tokens = (await testApp.mails()).map(({ token }) => token);
    const answers = await Promise.all(tokens.map((token) => verify(testApp, token, {}, headers)));
    expect(answers.map(({ statusCode }) => statusCode)).toEqual([422, 200, 200, 200, 200]);
  });

  test('does not tell whether the address was free: it is no device cookie, and signs nobody in', async () => {
    const { testApp, registered } = await startRegistered(PASSWORD, LIMITED);
    for (let guess = 0; guess < 6; guess += 1) await signIn(testApp, 'a wrong guess');
    const guessed = await testApp.post('/auth/login', { email: JOHN, password: 'a wrong guess' }, cookieIn(registered));
    expect(problemOf(guessed)).toBe('429 too_many_attempts');
    expect((await testApp.post('/auth/refresh', undefined, cookieIn(registered))).statusCode).toBe(401);
  });
});

describe('“This was not me”', () => {
  test('deletes the account by the token of the mail; the address is free, and nothing is mailed', async () => {
    const { testApp, registered, token, find, eventsOf } = await startRegistered(MALLORYS);
    const { id } = (await find())!;
    expect(await eventsOf(() => reject(testApp, token))).toEqual([{ event: 'account_disowned', user_id: id, ip: '127.0.0.1' }]);
    expect(await find()).toBeUndefined();
    expect(await testApp.mails()).toEqual([]);
    expect(problemOf(await reject(testApp, token))).toBe('400 link_invalid');
    expect(problemOf(await verify(testApp, token, { password: MALLORYS }, cookieIn(registered)))).toBe('400 link_invalid');
    await register(testApp);
    const [mail] = await testApp.mails();
    expect((await verify(testApp, mail!.token, { password: PASSWORD })).statusCode).toBe(200);
  });

  test('deletes no account that is in use, and none by another token', async () => {
    const { testApp, token, find } = await startRegistered();
    await testApp.post('/auth/forgot-password', { email: JOHN });
    const [forgotten] = await testApp.mails();
    for (const other of [forgotten!.token, 'x'.repeat(43)]) expect(problemOf(await reject(testApp, other))).toBe('400 link_invalid');
    for (const method of ['GET', 'HEAD'] as const) {
      expect((await testApp.request({ method, url: `/auth/verify-email/reject?token=${token}` })).statusCode).toBe(405);
    }
    await verify(testApp, token, { password: PASSWORD });
    const { accessToken } = await testApp.login();
    await testApp.request({ method: 'PATCH', url: '/users/me', headers: bearer(accessToken), payload: { email: 'next@example.com', password: PASSWORD } });
    const change = (await testApp.mails()).find(({ to }) => to === 'next@example.com');
    expect(problemOf(await reject(testApp, change!.token))).toBe('400 link_invalid');
    expect(await find()).toBeDefined();
  });

  test('deletes no imported account, though it was never verified and never signed in', async () => {
    const testApp = await startApp(QUIET);
    const { users } = testApp.app.store;
    const imported = {
      id: 'imported', email: JOHN, username: null, usernameKey: null, passwordHash: await testApp.app.passwords.hash(PASSWORD),
      roles: '', emailVerifiedAt: null, passwordChangedAt: 1, createdAt: 1, lastSignedInAt: null, verifyBy: null,
    };
    await testApp.app.store.transact([users.insert(imported)]);
    await testApp.post('/auth/verify-email/resend', { email: JOHN });
    const [mail] = await testApp.mails();
    expect(problemOf(await reject(testApp, mail!.token))).toBe('400 link_invalid');
    expect(await users.find('imported')).toEqual(imported);
    expect((await verify(testApp, mail!.token, { password: PASSWORD })).statusCode).toBe(200);
  });

  test('loses against a reset of the password that comes between', async () => {
    const { testApp, token, find, app } = await startRegistered();
    await testApp.post('/auth/forgot-password', { email: JOHN });
    const [forgotten] = await testApp.mails();
    const look = app.store.oneTimeTokens.find;
    vi.spyOn(app.store.oneTimeTokens, 'find').mockImplementationOnce(async (...of) => {
      const found = await look(...of);
      expect((await testApp.post('/auth/change-password', { token: forgotten!.token, new_password: MALLORYS })).statusCode).toBe(200);
      return found;
    });
    expect(problemOf(await reject(testApp, token))).toBe('400 link_invalid');
    expect(await find()).toMatchObject({ verifyBy: null });
  });
});

describe('an account that is never verified', () => {
  test('is deleted a week after its link has expired, with what belongs to it, and counted in the log', async () => {
    const { testApp, app, clock, folder, find, logLines } = await startRegistered();
    await register(testApp, PASSWORD, 'kept@example.com');
    const kept = (await testApp.mails())[0]!;
    await verify(testApp, kept.token, { password: PASSWORD });
    clock.now += 8 * DAY_MS - 1;
    expect(await app.store.users.purgeUnverified(clock.now)).toBe(0);
    clock.now += 1;
    const { now } = clock;
    const restarted = await startApp({ ...QUIET, DATA_DIR: folder }, undefined, now);
    await expect.poll(() => restarted.logLines.join('')).toContain('"event":"unverified_accounts_purged","count":1');
    expect(await find()).toBeUndefined();
    expect((await app.store.users.findByIdentifier('kept@example.com', null))[0]).toBeDefined();
    expect(logLines.join('')).not.toContain('unverified_accounts_purged');
  });

  test('stays while a later link still works', async () => {
    const { testApp, app, clock, find } = await startRegistered();
    clock.now += 8 * DAY_MS - HOUR_MS;
    await testApp.post('/auth/verify-email/resend', { email: JOHN });
    const [later] = await testApp.mails();
    clock.now += 23 * HOUR_MS;
    expect(await app.store.users.purgeUnverified(clock.now)).toBe(0);
    expect((await verify(testApp, later!.token, { password: PASSWORD })).statusCode).toBe(200);
    clock.now += 400 * DAY_MS;
    expect(await app.store.users.purgeUnverified(clock.now)).toBe(0);
    expect(await find()).toBeDefined();
  });

  test('stays once it has signed in, after REQUIRE_EMAIL_VERIFICATION was switched off', async () => {
    const { clock, folder, find } = await startRegistered();
    const open = await startApp({ DATA_DIR: folder });
    expect((await signIn(open)).statusCode).toBe(200);
    clock.now += 400 * DAY_MS;
    expect(await open.app.store.users.purgeUnverified(clock.now)).toBe(0);
    expect(await find()).toBeDefined();
  });
});
