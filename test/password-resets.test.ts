import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, inject, test, vi } from 'vitest';
import { bearer, cookieOf, databaseFor, PASSWORD, problemOf, startApp, type TestApp, WITHOUT_MAIL } from './support/app.ts';
import { query } from './support/postgres.ts';

const JOHN = 'john@example.com';
const NEW = 'another long passphrase';
const MINUTE_MS = 60_000;
const LIMITED = { RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1000000' };

const forget = ({ post }: TestApp, email = JOHN, headers: Record<string, string> = {}) => post('/auth/forgot-password', { email }, headers);
const reset = ({ post }: TestApp, token: string | null | undefined, new_password = NEW, headers: Record<string, string> = {}) =>
  post('/auth/change-password', { token, new_password }, headers);
const signIn = ({ post }: TestApp, password: string, email = JOHN) => post('/auth/login', { email, password });

/** John, signed in, with the token of a mail for a new password in hand. */
async function startForgotten(env: Record<string, string> = {}) {
  const testApp = await startApp(env);
  const john = await testApp.register();
  await testApp.mails();
  await forget(testApp);
  const [mail] = await testApp.mails();
  return { ...testApp, testApp, john, token: mail!.token!, mail: mail! };
}

describe('a forgotten password', () => {
  test('is replaced by the link of a mail: every session ends, the address is verified, and nobody is signed in', async () => {
    const { testApp, john, token, mail, get, refresh, login, mails, logLines, events } = await startForgotten();
    const elsewhere = await login();
    expect(mail).toMatchObject({ to: JOHN, link: expect.stringMatching(/^http:\/\/localhost:\d+\/reset-password#token=[\w-]{43}$/) });
    const answer = await reset(testApp, token);
    expect(answer.json()).toEqual({ msg: 'Password changed successfully' });
    expect(cookieOf(answer)).toMatchObject({ value: '', maxAge: 0 });
    for (const { accessToken, refreshToken } of [john, elsewhere]) {
      expect(problemOf(await get('/users/me', accessToken))).toBe('401 access_token_invalid');
      expect(problemOf(await refresh(refreshToken))).toBe('401 session_ended');
    }
    expect(problemOf(await signIn(testApp, PASSWORD))).toBe('401 invalid_credentials');
    expect((await signIn(testApp, NEW)).json()).toMatchObject({ user: { email_verified: true } });
    expect(await mails()).toEqual([expect.objectContaining({ to: JOHN, token: null, subject: expect.stringMatching(/password/i) })]);
    expect(events()).toEqual(expect.arrayContaining(['password_reset_requested', 'password_reset']));
    const lines = logLines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.find(({ event }) => event === 'password_reset_requested')).toMatchObject({ level: 30, user_id: john.userId, mailed: true, ip: '127.0.0.1' });
    expect(lines.find(({ event }) => event === 'password_reset')).toMatchObject({ level: 30, user_id: john.userId, sessions_ended: 2, ip: '127.0.0.1' });
    for (const secret of [token, 'john@', 'another long']) expect(logLines.join('')).not.toContain(secret);
  });

  test('is no matter for an address without an account: no mail, and nothing that could be used', async () => {
    const testApp = await startApp();
    expect((await forget(testApp, 'nobody@example.com')).statusCode).toBe(200);
    expect(await testApp.mails()).toEqual([]);
    expect((await testApp.post('/auth/register', { email: 'nobody@example.com', password: PASSWORD })).statusCode).toBe(201);
  });

  test('is asked for without regard to case, of the address alone', async () => {
    const testApp = await startApp();
    await testApp.register();
    await testApp.mails();
    expect((await forget(testApp, 'JOHN@Example.COM')).statusCode).toBe(200);
    expect(await testApp.mails()).toHaveLength(1);
    for (const body of [{}, { email: 'john' }, { username: 'john' }, { email: JOHN, extra: 1 }]) expect(problemOf(await testApp.post('/auth/forgot-password', body))).toBe('422 invalid_input');
  });

  test('cannot be asked for where no mails are sent; everything else goes on', async () => {
    const testApp = await startApp(WITHOUT_MAIL);
    const { accessToken } = await testApp.register();
    expect(problemOf(await forget(testApp))).toBe('501 mail_off');
    expect(problemOf(await forget(testApp, 'nobody@example.com'))).toBe('501 mail_off');
    expect(problemOf(await reset(testApp, 'x'.repeat(43)))).toBe('400 link_invalid');
    expect((await testApp.post('/auth/change-password', { old_password: PASSWORD, new_password: NEW }, bearer(accessToken))).statusCode).toBe(200);
    expect(await testApp.app.store.mails.areDue(testApp.clock.now)).toBe(false);
  });
});

describe('the token', () => {
  test('works once, and of twenty uses at once exactly one wins', async () => {
    const { testApp, token } = await startForgotten();
    const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => reset(testApp, token, `${NEW} ${index}`)));
    const winners = answers.flatMap(({ statusCode }, index) => (statusCode === 200 ? [index] : []));
    expect(winners).toHaveLength(1);
    expect(answers.filter((answer) => answer.statusCode === 400).map(problemOf)).toEqual(Array<string>(19).fill('400 link_invalid'));
    expect((await signIn(testApp, `${NEW} ${winners[0]}`)).statusCode).toBe(200);
    expect(problemOf(await reset(testApp, token, `${NEW} again`))).toBe('400 link_invalid');
  });

  test.each([[60 * MINUTE_MS - 1, 200], [60 * MINUTE_MS, 400]])('%i ms old is answered %i', async (age, status) => {
    const { testApp, token, clock } = await startForgotten();
    clock.now += age;
    expect((await reset(testApp, token)).statusCode).toBe(status);
  });

  test('is refused in one and the same way, whatever is wrong with it', async () => {
    const { testApp, token, clock } = await startForgotten();
    const used = await startForgotten();
    await reset(used.testApp, used.token);
    await testApp.post('/auth/verify-email/resend', { email: JOHN });
    const forVerification = (await testApp.mails())[0]!.token!;
    const refusals = [
      await reset(testApp, 'x'.repeat(43)), await reset(testApp, 'x'), await reset(testApp, `${token}A`), await reset(testApp, forVerification),
      await reset(used.testApp, used.token),
    ];
    clock.now += 60 * MINUTE_MS;
    refusals.push(await reset(testApp, token));
    const [first, ...others] = refusals.map((answer) => ({ ...answer.json<object>(), request_id: '' }));
    expect(first).toMatchObject({ status: 400, code: 'link_invalid' });
    for (const other of others) expect(other).toEqual(first);
    expect(testApp.events()).toContain('password_reset_refused');
    expect((await signIn(testApp, PASSWORD)).statusCode).toBe(200);
  });

  test('verifies no address, and that of a verification changes no password', async () => {
    const testApp = await startApp();
    await testApp.register();
    const [verification] = await testApp.mails();
    await forget(testApp);
    const [forgotten] = await testApp.mails();
    expect(problemOf(await testApp.post('/auth/verify-email', { token: forgotten!.token }))).toBe('400 link_invalid');
    expect(problemOf(await reset(testApp, verification!.token))).toBe('400 link_invalid');
    expect((await testApp.post('/auth/verify-email', { token: verification!.token })).statusCode).toBe(200);
    expect((await reset(testApp, forgotten!.token)).statusCode).toBe(200);
  });

  test('is not ended by newer ones: whoever asks for another, the link that its owner holds works', async () => {
    const { testApp, token, mails } = await startForgotten();
    await forget(testApp);
    await forget(testApp);
    const [newer, newest] = await mails();
    expect((await reset(testApp, token)).statusCode).toBe(200);
    for (const other of [token, newer!.token, newest!.token]) expect(problemOf(await reset(testApp, other))).toBe('400 link_invalid');
    expect((await signIn(testApp, NEW)).statusCode).toBe(200);
  });

  test('is ended by a change of the password, as is every other one', async () => {
    const testApp = await startApp();
    const { accessToken } = await testApp.register();
    await forget(testApp);
    const [verification, forgotten] = await testApp.mails();
    await testApp.post('/auth/change-password', { old_password: PASSWORD, new_password: NEW }, bearer(accessToken));
    expect(problemOf(await reset(testApp, forgotten!.token, `${NEW} 2`))).toBe('400 link_invalid');
    expect(problemOf(await testApp.post('/auth/verify-email', { token: verification!.token }))).toBe('400 link_invalid');
    expect((await testApp.mails()).map(({ to, token }) => [to, token])).toEqual([[JOHN, null]]);
  });

  test('is of no use when it went to an address that the account had, and had no more when the mail was written', async () => {
    const { app, testApp, john, mails } = await startForgotten();
    const { findByIdentifier } = app.store.users;
    vi.spyOn(app.store.users, 'findByIdentifier').mockImplementationOnce(async (...identifiers) => {
      const found = await findByIdentifier(...identifiers);
      const change = { id: john.userId, email: 'john.doe@example.com', usernameKey: null, now: testApp.clock.now };
      const { users, oneTimeTokens } = app.store;
      expect(await app.store.transact([users.verifyEmail(change), oneTimeTokens.endAll(john.userId, change.now)])).not.toBeNull();
      return found;
    });
    await forget(testApp);
    const { token } = (await mails()).find(({ to }) => to === JOHN)!;
    testApp.logLines.length = 0;
    expect(problemOf(await reset(testApp, token))).toBe('400 link_invalid');
    expect(testApp.events()).toEqual(expect.arrayContaining(['password_reset_refused']));
    expect((await signIn(testApp, PASSWORD, 'john.doe@example.com')).statusCode).toBe(200);
  });

  test('survives a password that breaks a rule, and the answer says which', async () => {
    const { testApp, token, john, get } = await startForgotten();
    for (const weak of ['short', 'password1', JOHN]) {
      expect((await reset(testApp, token, weak)).json()).toMatchObject({ status: 422, errors: [{ pointer: '/new_password', detail: expect.stringMatching(/^must /) }] });
    }
    expect((await get('/users/me', john.accessToken)).statusCode).toBe(200);
    expect((await reset(testApp, token)).statusCode).toBe(200);
    expect(problemOf(await reset(testApp, token, 'short'))).toBe('400 link_invalid');
  });

  test('counts in the body alone, and without anything else', async () => {
    const { testApp, token, john, post, request } = await startForgotten();
    const needed = { status: 422, errors: [{ pointer: '', detail: 'needs either token or old_password, and not both' }] };
    expect((await post(`/auth/change-password?token=${token}`, { new_password: NEW })).json()).toMatchObject(needed);
    expect((await post('/auth/change-password', { token, old_password: PASSWORD, new_password: NEW }, bearer(john.accessToken))).json()).toMatchObject(needed);
    expect((await post('/auth/change-password', { new_password: NEW }, bearer(token))).statusCode).toBe(422);
    expect(problemOf(await request({ method: 'GET', url: `/auth/change-password?token=${token}` }))).toBe('405 method_not_allowed');
    expect((await reset(testApp, token)).statusCode).toBe(200);
  });

  test('decides whose password it is: the bearer token of another beside it is left alone', async () => {
    const { testApp, token, get, register } = await startForgotten();
    const mallory = await register('mallory@example.com', 'mallory’s own passphrase');
    expect((await reset(testApp, token, NEW, bearer(mallory.accessToken))).statusCode).toBe(200);
    expect((await get('/users/me', mallory.accessToken)).statusCode).toBe(200);
    expect((await signIn(testApp, 'mallory’s own passphrase', 'mallory@example.com')).statusCode).toBe(200);
    expect((await signIn(testApp, NEW, 'mallory@example.com')).statusCode).toBe(401);
    expect((await reset(testApp, 'x'.repeat(43), NEW, bearer(mallory.accessToken))).statusCode).toBe(400);
  });

  test('is in the answer only where that was asked for; that of an unknown address is of no use', async () => {
    const testApp = await startApp({ RESET_TOKEN_IN_RESPONSE: 'true' });
    await testApp.register();
    const { reset_token: token } = (await forget(testApp)).json<{ reset_token: string }>();
    const { reset_token: decoy } = (await forget(testApp, 'nobody@example.com')).json<{ reset_token: string }>();
    expect([token, decoy]).toEqual([expect.stringMatching(/^[\w-]{43}$/), expect.stringMatching(/^[\w-]{43}$/)]);
    expect((await testApp.mails()).map((mail) => mail.token)).toContain(token);
    expect(problemOf(await reset(testApp, decoy))).toBe('400 link_invalid');
    expect((await reset(testApp, token)).statusCode).toBe(200);
    expect(Object.keys((await forget(await startApp())).json<object>())).toEqual(['msg']);
  });

  test('is nowhere in the database', async () => {
    const testApp = await startApp();
    await testApp.register();
    await forget(testApp);
    const stored = await bytesOf(testApp.folder);
    const tokens = (await testApp.mails()).map(({ token }) => token!);
    expect(tokens).toHaveLength(2);
    stored.push(...await bytesOf(testApp.folder));
    expect(stored.some((bytes) => bytes.includes(JOHN))).toBe(true);
    for (const token of tokens) {
      for (const spelling of [token, Buffer.from(token, 'base64url'), Buffer.from(token).toString('base64'), Buffer.from(token, 'base64url').toString('hex')]) {
        expect(stored.some((bytes) => bytes.includes(spelling))).toBe(false);
      }
    }
  });
});

/** All that is stored, as it is: the files of SQLite, or the rows of PostgreSQL. */
async function bytesOf(folder: string): Promise<Buffer[]> {
  const { DATABASE_URL } = await databaseFor(folder);
  if (inject('postgres') === undefined) return readdirSync(folder).map((name) => readFileSync(join(folder, name)));
  const tables = ['users', 'sessions', 'one_time_tokens', 'mails', 'throttles'];
  const rows = await Promise.all(tables.map(async (table) => (await query(DATABASE_URL!, `SELECT * FROM ${table}`)).rows));
  return [Buffer.from(JSON.stringify(rows))];
}

test('no header of a request reaches the link of a mail', async () => {
  const testApp = await startApp({ TRUST_PROXY: '127.0.0.1' });
  await testApp.register();
  await testApp.mails();
  for (const headers of [{ host: 'evil.example' }, { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https' }, { origin: 'http://evil.example', host: 'evil.example' }, { forwarded: 'host=evil.example' }]) {
    expect((await forget(testApp, JOHN, headers as Record<string, string>)).statusCode).toBe(200);
  }
  const sent = await testApp.mails();
  expect(sent.length).toBeGreaterThan(0);
  for (const mail of sent) expect(JSON.stringify(mail)).not.toContain('evil');
});

test.each([
  [{ APP_URL: 'https://app.example/account' }, /^https:\/\/app\.example\/account\/reset-password#token=[\w-]{43}$/],
  [{ PUBLIC_URL: 'https://auth.example' }, /^https:\/\/auth\.example\/reset-password#token=[\w-]{43}$/],
])('links lead to %j', async (env, link) => {
  const { mail } = await startForgotten(env);
  expect(mail.link).toMatch(link);
});

describe('mails for one address', () => {
  test('are three of a thousand requests, from however many addresses; later there is another', async () => {
    const testApp = await startApp(LIMITED);
    await testApp.register();
    await testApp.mails();
    const statuses = new Set<number>();
    for (let request = 0; request < 1000; request += 100) {
      const answers = await Promise.all(Array.from({ length: 100 }, (_, index) => testApp.request({
        method: 'POST', url: '/auth/forgot-password', payload: { email: JOHN }, remoteAddress: `203.0.${request / 100}.${index}`,
      })));
      answers.forEach(({ statusCode }) => statuses.add(statusCode));
    }
    expect([...statuses]).toEqual([200]);
    const sent = await testApp.mails();
    expect(sent).toHaveLength(3);
    testApp.clock.now += 16 * MINUTE_MS;
    await forget(testApp);
    const [later] = await testApp.mails();
    expect((await reset(testApp, later!.token)).statusCode).toBe(200);
  });

  test('that are held back leave the last link as it was', async () => {
    const testApp = await startApp(LIMITED);
    await testApp.register();
    for (let times = 0; times < 10; times += 1) await forget(testApp);
    const token = (await testApp.mails()).findLast(({ link }) => link?.includes('reset-password'))?.token;
    expect((await reset(testApp, token)).statusCode).toBe(200);
  });

  test('still go out for a device that the owner has signed in from', async () => {
    const testApp = await startApp(LIMITED);
    const registered = await testApp.post('/auth/register', { email: JOHN, password: PASSWORD });
    const { name, value } = registered.cookies.find((cookie) => cookie.name === 'device')!;
    for (let times = 0; times < 10; times += 1) await forget(testApp);
    await testApp.mails();
    await forget(testApp);
    expect(await testApp.mails()).toEqual([]);
    await forget(testApp, JOHN, { cookie: `${name}=${value}` });
    expect(await testApp.mails()).toHaveLength(1);
  });

  test('begin anew with a reset, for strangers and for known devices', async () => {
    const testApp = await startApp(LIMITED);
    const registered = await testApp.post('/auth/register', { email: JOHN, password: PASSWORD });
    const deviceIn = (answer: typeof registered) => {
      const { name, value } = answer.cookies.find((cookie) => cookie.name === 'device')!;
      return { cookie: `${name}=${value}` };
    };
    const device = deviceIn(registered);
    for (let times = 0; times < 5; times += 1) await forget(testApp, JOHN, device);
    for (let times = 0; times < 5; times += 1) await forget(testApp);
    const sent = (await testApp.mails()).filter(({ link }) => link?.includes('reset-password'));
    expect(sent).toHaveLength(6);
    const changed = await reset(testApp, sent.at(-1)!.token);
    await testApp.mails();
    await forget(testApp, JOHN, deviceIn(changed));
    expect(await testApp.mails()).toHaveLength(1);
    await forget(testApp);
    expect(await testApp.mails()).toHaveLength(1);
  });
});

test('a reset forgets the wrong passwords before it', async () => {
  const { testApp, token } = await startForgotten(LIMITED);
  for (let times = 0; times < 5; times += 1) await signIn(testApp, 'a wrong guess');
  expect(problemOf(await signIn(testApp, PASSWORD))).toBe('429 too_many_attempts');
  expect((await reset(testApp, token)).statusCode).toBe(200);
  expect((await signIn(testApp, NEW)).statusCode).toBe(200);
});

test('a reset is not lost when a sign-in hashes the old password anew meanwhile', async () => {
  const { app, testApp, token, john } = await startForgotten();
  const { hash } = app.passwords;
  vi.spyOn(app.passwords, 'hash').mockImplementationOnce(async (password) => {
    const user = (await app.store.users.find(john.userId))!;
    await app.store.transact([app.store.users.replacePasswordHash({ id: user.id, oldHash: user.passwordHash, newHash: await hash(PASSWORD), changedAt: user.passwordChangedAt })]);
    return hash(password);
  });
  expect((await reset(testApp, token)).statusCode).toBe(200);
  expect((await signIn(testApp, NEW)).statusCode).toBe(200);
});

test('a reset ends a sign-in with the old password that had passed the check but not yet begun its session', async () => {
  const { app, testApp, token, get } = await startForgotten();
  const { verify } = app.passwords;
  vi.spyOn(app.passwords, 'verify').mockImplementationOnce(async (...guess) => {
    const fits = await verify(...guess);
    expect((await reset(testApp, token)).statusCode).toBe(200);
    return fits;
  });
  expect((await signIn(testApp, PASSWORD)).statusCode).toBe(401);
  const { access_token } = (await signIn(testApp, NEW)).json<{ access_token: string }>();
  expect((await get('/auth/sessions', access_token)).json<{ sessions: unknown[] }>().sessions).toHaveLength(1);
});
