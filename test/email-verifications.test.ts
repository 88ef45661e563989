import { describe, expect, test } from 'vitest';
import { bearer, cookieOf, PASSWORD, problemOf, startApp, temporaryFolder, type TestApp, WITHOUT_MAIL } from './support/app.ts';

const JOHN = 'john@example.com';
const NEW = 'another long passphrase';
const HOUR_MS = 3_600_000;
const LIMITED = { RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1000000' };
const QUIET = { REQUIRE_EMAIL_VERIFICATION: 'true' };

const verify = ({ post }: TestApp, token: string | null | undefined) => post('/auth/verify-email', { token });
/** From another browser than the one that registered. */
const verifyWithPassword = ({ post }: TestApp, token: string | null | undefined) => post('/auth/verify-email', { token, password: PASSWORD });
const shapesOf = (answer: Awaited<ReturnType<TestApp['request']>>) => answer.cookies.map(({ value, ...cookie }) => ({ ...cookie, length: value.length }));
const resend = ({ post }: TestApp, email: string) => post('/auth/verify-email/resend', { email });
const signUp = ({ post }: TestApp, body: object = {}) => post('/auth/register', { email: JOHN, password: PASSWORD, ...body });
const signIn = ({ post }: TestApp, body: object = {}) => post('/auth/login', { email: JOHN, password: PASSWORD, ...body });

/** John, signed in, with the token of the mail that registering sent. */
async function startRegistered(env: Record<string, string> = {}) {
  const testApp = await startApp(env);
  const john = await testApp.register();
  const [mail] = await testApp.mails();
  const isVerified = async () => (await testApp.get('/users/me', john.accessToken)).json<{ email_verified: boolean }>().email_verified;
  return { ...testApp, testApp, john, mail: mail!, token: mail!.token!, isVerified };
}

describe('an e-mail address', () => {
  test('is verified by the link of the mail that registering sends', async () => {
    const { testApp, mail, token, isVerified, logLines, john } = await startRegistered();
    expect(mail).toMatchObject({ to: JOHN, link: expect.stringMatching(/^http:\/\/localhost:\d+\/verify-email#token=[\w-]{43}$/) });
    expect(await isVerified()).toBe(false);
    const answer = await verify(testApp, token);
    expect(answer.json()).toEqual({ msg: 'E-mail address verified' });
    expect(answer.cookies).toEqual([]);
    expect(await isVerified()).toBe(true);
    expect(await testApp.mails()).toEqual([]);
    const line = logLines.map((each) => JSON.parse(each) as Record<string, unknown>).find(({ event }) => event === 'email_verified');
    expect(line).toMatchObject({ level: 30, user_id: john.userId, ip: '127.0.0.1' });
    for (const secret of [token, 'john@']) expect(logLines.join('')).not.toContain(secret);
  });

  test('is not needed: a username alone gets no mail', async () => {
    const testApp = await startApp();
    await testApp.post('/auth/register', { username: 'john', password: PASSWORD });
    expect(await testApp.mails()).toEqual([]);
  });

  test('is registered without a mail where none are sent', async () => {
    const testApp = await startApp(WITHOUT_MAIL);
    const { accessToken } = await testApp.register();
    expect(await testApp.app.store.mails.areDue(testApp.clock.now)).toBe(false);
    expect(problemOf(await resend(testApp, JOHN))).toBe('501 mail_off');
    expect(problemOf(await testApp.post('/auth/verify-email/resend', undefined, bearer(accessToken)))).toBe('501 mail_off');
    expect(problemOf(await verify(testApp, 'x'.repeat(43)))).toBe('400 link_invalid');
  });
});

describe('the token', () => {
  test('works once, and of twenty uses at once exactly one wins', async () => {
    const { testApp, token } = await startRegistered();
    const answers = await Promise.all(Array.from({ length: 20 }, () => verify(testApp, token)));
    expect(answers.filter(({ statusCode }) => statusCode === 200)).toHaveLength(1);
    expect(answers.filter((answer) => problemOf(answer) === '400 link_invalid')).toHaveLength(19);
    expect(problemOf(await verify(testApp, token))).toBe('400 link_invalid');
  });

  test.each([[24 * HOUR_MS - 1, 200], [24 * HOUR_MS, 400]])('%i ms old is answered %i', async (age, status) => {
    const { testApp, token, clock } = await startRegistered();
    clock.now += age;
    expect((await verify(testApp, token)).statusCode).toBe(status);
  });

  test('is used up by a POST alone: to read its address does nothing', async () => {
    const { testApp, token, request, isVerified } = await startRegistered();
    for (const method of ['GET', 'HEAD'] as const) {
      expect((await request({ method, url: `/auth/verify-email?token=${token}` })).statusCode).toBe(405);
      expect((await request({ method, url: `/verify-email?token=${token}` })).statusCode).toBe(200);
    }
    expect((await testApp.post(`/auth/verify-email?token=${token}`, {})).statusCode).toBe(422);
    expect(await isVerified()).toBe(false);
    expect((await verify(testApp, token)).statusCode).toBe(200);
  });
});

describe('the wrong passwords before it are forgotten by a verification', () => {
  test.each(['email', 'username'] as const)('(guessed by %s)', async (identifier) => {
    const testApp = await startApp(LIMITED);
    await signUp(testApp, { username: 'john' });
    const [mail] = await testApp.mails();
    const guess = (password: string) => testApp.post('/auth/login', { [identifier]: identifier === 'email' ? JOHN : 'john', password });
    for (let times = 0; times < 5; times += 1) await guess('a wrong guess');
    expect(problemOf(await guess(PASSWORD))).toBe('429 too_many_attempts');
    await verify(testApp, mail!.token);
    expect((await guess(PASSWORD)).statusCode).toBe(200);
  });
});

describe('another mail', () => {
  test.each([0, 1, 2])('is sent when asked for by the address or signed in, and each link works: number %i', async (used) => {
    const { testApp, token, john, mails, isVerified } = await startRegistered();
    expect((await resend(testApp, 'JOHN@example.com')).statusCode).toBe(200);
    expect((await testApp.post('/auth/verify-email/resend', undefined, bearer(john.accessToken))).statusCode).toBe(200);
    const tokens = [token, ...(await mails()).map((mail) => mail.token)];
    expect(tokens).toHaveLength(3);
    expect((await verify(testApp, tokens[used])).statusCode).toBe(200);
    expect(await isVerified()).toBe(true);
  });

  test('is not sent to an address that is verified, or unknown', async () => {
    const { testApp, token, john, mails } = await startRegistered();
    await verify(testApp, token);
    await resend(testApp, JOHN);
    await resend(testApp, 'nobody@example.com');
    expect((await testApp.post('/auth/verify-email/resend', {}, bearer(john.accessToken))).statusCode).toBe(200);
    expect(await mails()).toEqual([]);
  });

  test('is logged with the user, and with whether a mail goes out', async () => {
    const { testApp, token, john, logLines } = await startRegistered();
    const logged = () => {
      const lines = logLines.splice(0).map((line) => JSON.parse(line) as Record<string, unknown>);
      return lines.filter(({ event }) => event === 'verification_requested').map(({ user_id, mailed }) => ({ user_id, mailed }));
    };
    const resendOwn = () => testApp.post('/auth/verify-email/resend', {}, bearer(john.accessToken));
    await resend(testApp, JOHN);
    await resendOwn();
    expect(logged()).toEqual([{ user_id: john.userId, mailed: true }, { user_id: john.userId, mailed: true }]);
    await verify(testApp, token);
    await resend(testApp, JOHN);
    await resendOwn();
    await resend(testApp, 'nobody@example.com');
    expect(logged()).toEqual([
      { user_id: john.userId, mailed: false }, { user_id: john.userId, mailed: false }, { user_id: null, mailed: false },
    ]);
  });

  test('that is held back is logged as such', async () => {
    const { testApp, john, logLines } = await startRegistered(LIMITED);
    for (let times = 0; times < 4; times += 1) await resend(testApp, JOHN);
    const lines = logLines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ event }) => event === 'verification_requested');
    expect(lines.map(({ mailed }) => mailed)).toEqual([true, true, false, false]);
    expect(lines.every(({ user_id }) => user_id === john.userId)).toBe(true);
  });

  test('needs an address or a sign-in', async () => {
    const { testApp } = await startRegistered();
    expect(problemOf(await testApp.post('/auth/verify-email/resend'))).toBe('401 access_token_missing');
    expect(problemOf(await testApp.post('/auth/verify-email/resend', {}, bearer('a.b.c')))).toBe('401 access_token_invalid');
    expect(problemOf(await testApp.post('/auth/verify-email/resend', { email: 'no address' }))).toBe('422 invalid_input');
    expect((await testApp.post('/auth/verify-email/resend', { email: JOHN }, bearer('a.b.c'))).statusCode).toBe(200);
  });

  test('goes out three times at once, whoever asks; registering goes on without', async () => {
    const { testApp, john, mails } = await startRegistered(LIMITED);
    for (let times = 0; times < 5; times += 1) await resend(testApp, JOHN);
    for (let times = 0; times < 5; times += 1) await testApp.post('/auth/verify-email/resend', {}, bearer(john.accessToken));
    expect(await mails()).toHaveLength(2);
    for (let times = 0; times < 5; times += 1) await resend(testApp, 'jane@example.com');
    const { accessToken } = await testApp.register('jane@example.com');
    expect((await testApp.get('/users/me', accessToken)).statusCode).toBe(200);
    expect(await mails()).toEqual([]);
    expect(problemOf(await signUp(testApp, { email: 'jane@example.com' }))).toBe('409 identifier_taken');
    testApp.clock.now += HOUR_MS;
    await resend(testApp, 'jane@example.com');
    expect((await verify(testApp, (await mails())[0]!.token)).statusCode).toBe(200);
  });
});

describe('under REQUIRE_EMAIL_VERIFICATION', () => {
  test('nobody is signed in before the address is verified', async () => {
    const testApp = await startApp(QUIET);
    const answer = await signUp(testApp, { username: 'JohnDoe' });
    expect([answer.statusCode, answer.json()]).toEqual([202, { msg: expect.stringContaining('mail') }]);
    expect(answer.cookies.map(({ name }) => name)).toEqual(['registrant']);
    expect(problemOf(await signIn(testApp))).toBe('401 invalid_credentials');
    const [mail] = await testApp.mails();
    expect((await verifyWithPassword(testApp, mail!.token)).statusCode).toBe(200);
    expect((await signIn(testApp)).json()).toMatchObject({ user: { email: JOHN, username: 'JohnDoe', email_verified: true } });
    expect((await testApp.post('/auth/login', { username: 'johndoe', password: PASSWORD })).statusCode).toBe(200);
    expect(testApp.logLines.join('')).toMatch(/"event":"login_refused","user_id":"[\w-]+","unverified":true/);
  });

  test('an address is asked for, and a weak password is told', async () => {
    const testApp = await startApp(QUIET);
    expect((await testApp.post('/auth/register', { username: 'john', password: PASSWORD })).json()).toMatchObject({ status: 422, errors: [{ pointer: '/email', detail: 'is required' }] });
    expect((await signUp(testApp, { password: 'short' })).json()).toMatchObject({ status: 422, errors: [{ pointer: '/password' }] });
  });

  test('the owner of an address that is taken gets a link to choose a new password, and nobody else learns of it', async () => {
    const testApp = await startApp(QUIET);
    const first = await signUp(testApp, { password: 'a stranger’s passphrase' });
    const [forged] = await testApp.mails();
    const second = await signUp(testApp);
    expect([second.statusCode, second.body, shapesOf(second)]).toEqual([first.statusCode, first.body, shapesOf(first)]);
    const [told] = await testApp.mails();
    expect(told).toMatchObject({ to: JOHN, link: expect.stringContaining('/reset-password#token=') });
    expect(testApp.events()).toContain('already_registered');
    expect((await testApp.post('/auth/change-password', { token: told!.token, new_password: NEW })).statusCode).toBe(200);
    expect((await signIn(testApp, { password: NEW })).json()).toMatchObject({ user: { email_verified: true } });
    expect(problemOf(await verifyWithPassword(testApp, forged!.token))).toBe('400 link_invalid');
    expect((await signIn(testApp, { password: 'a stranger’s passphrase' })).statusCode).toBe(401);
  });

  test('whoever signs up with an address learns nothing by signing in afterwards: the wrong and the right password are refused alike, also in number', async () => {
    const testApp = await startApp({ ...QUIET, ...LIMITED });
    await signUp(testApp);
    await verifyWithPassword(testApp, (await testApp.mails())[0]!.token);
    const password = 'a passphrase of mallory';
    const learn = async (email: string) => {
      const answers = [await signUp(testApp, { email, password })];
      for (let times = 0; times < 7; times += 1) answers.push(await signIn(testApp, { email, password }));
      return answers.map((answer) => ({ status: answer.statusCode, body: { ...answer.json<object>(), request_id: '' }, cookies: shapesOf(answer) }));
    };
    const free = await learn('jane@example.com');
    expect(await learn(JOHN)).toEqual(free);
    expect(free.map(({ status }) => status)).toEqual([202, 401, 401, 401, 401, 401, 429, 429]);
  });

  test('a username is not held before the address is verified: nor does it tell whether the address was free', async () => {
    const testApp = await startApp(QUIET);
    await signUp(testApp);
    await verifyWithPassword(testApp, (await testApp.mails())[0]!.token);
    await signUp(testApp, { email: JOHN, username: 'probe_1' });
    await signUp(testApp, { email: 'jane@example.com', username: 'probe_2' });
    for (const username of ['probe_1', 'PROBE_2']) {
      expect((await signUp(testApp, { email: `${username}@example.com`, username })).statusCode).toBe(202);
    }
  });

  test('of two who ask for one username the first to verify gets it, the other none; then it is taken for everybody', async () => {
    const testApp = await startApp(QUIET);
    await signUp(testApp, { email: 'one@example.com', username: 'Wanted' });
    await signUp(testApp, { email: 'two@example.com', username: 'wanted' });
    const tokens = Object.fromEntries((await testApp.mails()).map(({ to, token }) => [to, token]));
    const answers = await Promise.all(Object.values(tokens).map((token) => verifyWithPassword(testApp, token)));
    expect(answers.map(({ statusCode }) => statusCode)).toEqual([200, 200]);
    const names = await Promise.all(['one', 'two'].map(async (name) => (await signIn(testApp, { email: `${name}@example.com` })).json<{ user: { username: string | null } }>().user.username));
    expect(names.filter((name) => name === null)).toHaveLength(1);
    expect(names.filter((name) => name?.toLowerCase() === 'wanted')).toHaveLength(1);
    for (const email of ['one@example.com', 'free@example.com']) {
      expect((await signUp(testApp, { email, username: 'WANTED' })).json()).toMatchObject({ status: 409, errors: [{ pointer: '/username' }] });
    }
  });

  test('a forgotten password is replaced also before the address is verified, and verifies it', async () => {
    const testApp = await startApp(QUIET);
    await signUp(testApp, { username: 'john' });
    await testApp.mails();
    await testApp.post('/auth/forgot-password', { email: JOHN });
    const [mail] = await testApp.mails();
    expect((await testApp.post('/auth/change-password', { token: mail!.token, new_password: NEW })).statusCode).toBe(200);
    expect((await signIn(testApp, { password: NEW })).json()).toMatchObject({ user: { username: 'john', email_verified: true } });
  });

  test('of many who register one address at once one account is made, and all are answered alike', async () => {
    const testApp = await startApp(QUIET);
    const answers = await Promise.all(Array.from({ length: 10 }, () => signUp(testApp)));
    expect(new Set(answers.map(({ statusCode, body }) => `${statusCode} ${body}`)).size).toBe(1);
    expect(answers[0]!.statusCode).toBe(202);
    expect(testApp.events().filter((event) => event === 'registered')).toHaveLength(1);
  });

  test('registering is answered alike while the address is to get no more mails, and nothing is made', async () => {
    const testApp = await startApp({ ...QUIET, ...LIMITED });
    for (let times = 0; times < 3; times += 1) await resend(testApp, JOHN);
    await testApp.mails();
    expect((await signUp(testApp)).statusCode).toBe(202);
    expect(await testApp.mails()).toEqual([]);
    testApp.clock.now += HOUR_MS;
    expect((await signUp(testApp)).statusCode).toBe(202);
    expect((await verifyWithPassword(testApp, (await testApp.mails())[0]!.token)).statusCode).toBe(200);
    expect((await signIn(testApp)).statusCode).toBe(200);
    for (let times = 0; times < 5; times += 1) expect((await signUp(testApp)).statusCode).toBe(202);
    expect((await testApp.mails()).length).toBeLessThanOrEqual(3);
  });

  test('an account without an address, which an import makes, signs in; sessions from before go on', async () => {
    const folder = temporaryFolder();
    const before = await startApp({ DATA_DIR: folder });
    await before.post('/auth/register', { username: 'imported', password: PASSWORD });
    const { accessToken } = await before.register();
    const after = await startApp({ DATA_DIR: folder, ...QUIET });
    expect((await after.post('/auth/login', { username: 'imported', password: PASSWORD })).statusCode).toBe(200);
    expect((await signIn(after)).statusCode).toBe(401);
    expect((await after.get('/users/me', accessToken)).statusCode).toBe(200);
    expect(cookieOf(await signIn(after))).toBeUndefined();
  });
});
