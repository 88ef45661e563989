import { describe, expect, test } from 'vitest';
import { parseRefreshToken } from '../src/core/refresh-tokens.ts';
import { bearer, PASSWORD, startApp, type TestApp, tokensOf } from './support/app.ts';

/** What each request writes to the log for the operator: these events with these fields, and no other event. */

const JOHN = 'john@example.com';
const NEW = 'another long passphrase';
const WRONG = 'a wrong passphrase';
const LIMITED = { RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1000000' };

const line = (event: string, fields: object = {}) => ({ event, ...fields, ip: '127.0.0.1' });
const sessionOf = ({ refreshToken }: { refreshToken: string }) => parseRefreshToken(refreshToken)!.sessionId;
const cookie = (...tokens: string[]) => ({ cookie: tokens.map((token) => `refresh_token=${token}`).join('; ') });
const login = ({ post }: TestApp, password = PASSWORD, email = JOHN) => post('/auth/login', { email, password });

/** John, signed in; whatever that logged is over. */
async function startAsJohn(env: Record<string, string> = {}) {
  const testApp = await startApp(env);
  const john = await testApp.register();
  const [mail] = await testApp.mails();
  const asJohn = (method: 'PATCH' | 'DELETE', url: string, payload?: object) =>
    testApp.request({ method, url, headers: bearer(john.accessToken), ...(payload && { payload }) });
  const { eventsOf, post, refresh } = testApp;
  return { ...testApp, testApp, john, user: { user_id: john.userId }, asJohn, mail: mail!, eventsOf, post, refresh };
}

describe('the log of', () => {
  test('a sign-up names the account and its session; a refused one writes nothing', async () => {
    const { post, eventsOf, login: signIn } = await startApp();
    const body = { email: JOHN, password: PASSWORD };
    const written = await eventsOf(() => post('/auth/register', body));
    const { userId } = await signIn();
    expect(written).toEqual([
      line('registered', { user_id: userId, session_id: expect.stringMatching(/^[\w-]{22}$/) }),
    ]);
    expect(await eventsOf(() => post('/auth/register', body))).toEqual([]);
    expect(await eventsOf(() => post('/auth/register', { ...body, password: 'short' }))).toEqual([]);
  });

  test('a sign-in names the account and its session; a refused one the account, if there is one', async () => {
    const { testApp, user, eventsOf } = await startAsJohn();
    expect(await eventsOf(() => login(testApp))).toEqual([
      line('signed_in', { ...user, session_id: expect.stringMatching(/^[\w-]{22}$/) }),
    ]);
    expect(await eventsOf(() => login(testApp, WRONG))).toEqual([line('login_refused', user)]);
    expect(await eventsOf(() => login(testApp, WRONG, 'nobody@example.com'))).toEqual([
      line('login_refused', { user_id: null }),
    ]);
  });

  test('a throttled sign-in says that it was throttled, and not that it was refused', async () => {
    const { testApp, user, eventsOf } = await startAsJohn(LIMITED);
    const guesses = await eventsOf(async () => {
      for (let guess = 0; guess < 5; guess += 1) await login(testApp, WRONG);
    });
    expect(guesses).toEqual(Array.from({ length: 5 }, () => line('login_refused', user)));
    expect(await eventsOf(() => login(testApp))).toEqual([line('login_throttled', user)]);
  });

  test('an ordinary refresh has no event at all', async () => {
    const { john, refresh, eventsOf } = await startAsJohn();
    expect(await eventsOf(() => refresh(john.refreshToken))).toEqual([]);
  });

  test('a repeated, a reused and a dead refresh token name the session, its user and both addresses', async () => {
    const { john, user, clock, refresh, eventsOf } = await startAsJohn();
    const session = { ...user, session_id: sessionOf(john), session_ip: '127.0.0.1' };
    await refresh(john.refreshToken);
    for (const repeats of [1, 2]) {
      expect(await eventsOf(() => refresh(john.refreshToken))).toEqual([
        line('refresh_token_repeated', { ...session, repeats }),
      ]);
    }
    clock.now += 60_000;
    expect(await eventsOf(() => refresh(john.refreshToken))).toEqual([line('refresh_token_reused', session)]);
    expect(await eventsOf(() => refresh(john.refreshToken))).toEqual([line('refresh_token_dead', session)]);
  });

  test('a forged refresh token says so, and names the session that it claims to be of', async () => {
    const { john, refresh, eventsOf } = await startAsJohn();
    const forged = (session_id: string | null) =>
      line('refresh_token_refused', { reason: 'forged', user_id: null, session_id });
    expect(await eventsOf(() => refresh('x'))).toEqual([forged(null)]);
    expect(await eventsOf(() => refresh(john.refreshToken.replace('.0.', '.1.')))).toEqual([forged(sessionOf(john))]);
  });

  test('a sign-out counts the sessions that it ended, of each presented token', async () => {
    const { john, user, login: signIn, post, eventsOf } = await startAsJohn();
    const [second, third] = [await signIn(), await signIn()];
    const out = (token: { refreshToken: string }, scope = 'current') =>
      eventsOf(() => post(`/auth/logout?scope=${scope}`, undefined, cookie(token.refreshToken)));
    const signedOut = (token: { refreshToken: string }, scope: string, sessions_ended: number) =>
      line('signed_out', { ...user, session_id: sessionOf(token), scope, sessions_ended });
    expect(await out(third)).toEqual([signedOut(third, 'current', 1)]);
    expect(await out(john, 'others')).toEqual([signedOut(john, 'others', 1)]);
    const fourth = await signIn();
    expect(await out(john, 'all')).toEqual([signedOut(john, 'all', 2)]);
    for (const ended of [john, second, fourth]) {
      for (const scope of ['current', 'others', 'all']) {
        expect(await out(ended, scope)).toEqual([signedOut(ended, scope, 0)]);
      }
    }
  });

  test('a sign-out with a forged token says that it was refused, and with a reused one that its session ended', async () => {
    const { john, user, clock, refresh, post, eventsOf } = await startAsJohn();
    const out = (token: string) => eventsOf(() => post('/auth/logout', { refresh_token: token }));
    const forged = line('refresh_token_refused', { reason: 'forged', user_id: null, session_id: null });
    expect(await out('x')).toEqual([forged]);
    for (let time = 0, token = john.refreshToken; time < 2; time += 1) {
      token = tokensOf(await refresh(token)).refreshToken;
      clock.now += 60_000;
    }
    const reused = line('refresh_token_reused', { ...user, session_id: sessionOf(john), session_ip: '127.0.0.1' });
    expect(await out(john.refreshToken)).toEqual([reused]);
  });

  test('the end of a session names it; a list, and the end of a session that is not there, write nothing', async () => {
    const { john, user, login: signIn, get, asJohn, eventsOf } = await startAsJohn();
    const id = sessionOf(await signIn());
    expect(await eventsOf(() => asJohn('DELETE', `/auth/sessions/${id}`))).toEqual([
      line('session_ended', { ...user, session_id: id }),
    ]);
    expect(await eventsOf(() => asJohn('DELETE', `/auth/sessions/${id}`))).toEqual([]);
    expect(await eventsOf(() => get('/auth/sessions', john.accessToken))).toEqual([]);
  });

  test('a request with an access token has no event, with a good token or a bad one', async () => {
    const { john, get, eventsOf } = await startAsJohn();
    expect(await eventsOf(() => get('/users/me', john.accessToken))).toEqual([]);
    expect(await eventsOf(() => get('/users/me', `${john.accessToken}x`))).toEqual([]);
  });

  test('a change of the password counts the sessions that ended; a refused one says whether it was throttled', async () => {
    const { john, user, login: signIn, post, eventsOf } = await startAsJohn(LIMITED);
    await signIn();
    const change = (old_password: string, token = john.accessToken) =>
      eventsOf(() => post('/auth/change-password', { old_password, new_password: NEW }, bearer(token)));
    const refused = (throttled: boolean) => [line('password_change_refused', { ...user, throttled })];
    for (let guess = 0; guess < 5; guess += 1) expect(await change(WRONG)).toEqual(refused(false));
    expect(await change(PASSWORD)).toEqual(refused(true));
    const { accessToken } = await signIn();
    expect(await change(PASSWORD, accessToken)).toEqual([line('password_changed', { ...user, session_id: expect.any(String), sessions_ended: 3 })]);
  });

  test('a forgotten password says whether a mail goes out; its link counts the sessions that ended, once', async () => {
    const { user, post, mails, eventsOf } = await startAsJohn();
    const ask = (email: string) => eventsOf(() => post('/auth/forgot-password', { email }));
    expect(await ask('nobody@example.com')).toEqual([
      line('password_reset_requested', { user_id: null, mailed: false }),
    ]);
    expect(await ask(JOHN)).toEqual([line('password_reset_requested', { ...user, mailed: true })]);
    const [mail] = await mails();
    const reset = (new_password = NEW) =>
      eventsOf(() => post('/auth/change-password', { token: mail!.token, new_password }));
    expect(await reset('short')).toEqual([]);
    expect(await reset()).toEqual([line('password_reset', { ...user, sessions_ended: 1 })]);
    expect(await reset()).toEqual([line('password_reset_refused')]);
  });

  test('a verification says whether a mail goes out, and why a link was refused', async () => {
    const { john, user, mail, post, register, eventsOf } = await startAsJohn();
    const ask = (email: string) => eventsOf(() => post('/auth/verify-email/resend', { email }));
    const verify = () => eventsOf(() => post('/auth/verify-email', { token: mail.token }));
    const askSignedIn = () => eventsOf(() => post('/auth/verify-email/resend', undefined, bearer(john.accessToken)));
    expect(await verify()).toEqual([line('email_verified', user)]);
    expect(await verify()).toEqual([line('verification_refused', { reason: 'link_invalid' })]);
    expect(await ask('nobody@example.com')).toEqual([line('verification_requested', { user_id: null, mailed: false })]);
    expect(await ask(JOHN)).toEqual([line('verification_requested', { ...user, mailed: false })]);
    expect(await askSignedIn()).toEqual([line('verification_requested', { ...user, mailed: false })]);
    const jane = await register('jane@example.com');
    expect(await ask('jane@example.com')).toEqual([
      line('verification_requested', { user_id: jane.userId, mailed: true }),
    ]);
  });

  test('a change of the profile names what changed, and a refused one only that', async () => {
    const { user, asJohn, mails, post, eventsOf } = await startAsJohn();
    const patch = (body: object) => eventsOf(() => asJohn('PATCH', '/users/me', { password: PASSWORD, ...body }));
    expect(await patch({ username: 'john' })).toEqual([line('username_changed', user)]);
    expect(await patch({ username: 'john' })).toEqual([]);
    expect(await patch({ email: 'new@example.com' })).toEqual([line('email_change_requested', user)]);
    const link = (await mails()).find(({ to }) => to === 'new@example.com');
    expect(await eventsOf(() => post('/auth/verify-email', { token: link!.token }))).toEqual([
      line('email_changed', user),
    ]);
    expect(await patch({ username: 'jack', password: WRONG })).toEqual([
      line('profile_change_refused', { ...user, throttled: false }),
    ]);
  });

  test('the deletion of an account names it, and a refused one only that', async () => {
    const { user, asJohn, eventsOf } = await startAsJohn();
    const remove = (password: string) => eventsOf(() => asJohn('DELETE', '/users/me', { password }));
    expect(await remove(WRONG)).toEqual([line('account_deletion_refused', { ...user, throttled: false })]);
    expect(await remove(PASSWORD)).toEqual([line('account_deleted', user)]);
  });
});
