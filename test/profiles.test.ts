import { describe, expect, test, vi } from 'vitest';
import { bearer, cookieOf, PASSWORD, problemOf, startApp, type TestApp, tokensOf, WITHOUT_MAIL } from './support/app.ts';

const JOHN = 'john@example.com';
const NEXT = 'john.doe@example.com';
const NEW = 'another long passphrase';
const MINUTE_MS = 60_000;
const LIMITED = { RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1000000' };
const QUIET = { REQUIRE_EMAIL_VERIFICATION: 'true' };

type Sent = Awaited<ReturnType<TestApp['mails']>>;
const shapes = (mails: Sent) => mails.map(({ to, link }) => `${to} ${link?.split('#')[0]!.split('/').at(-1) ?? 'notice'}`).sort();
const verify = ({ post }: TestApp, token: string | null | undefined) => post('/auth/verify-email', { token, password: PASSWORD });
const signIn = ({ post }: TestApp, body: object) => post('/auth/login', { password: PASSWORD, ...body });

/** A signed-in user with a verified address. */
async function enter(testApp: TestApp, email: string) {
  await testApp.post('/auth/register', { email, password: PASSWORD });
  await verify(testApp, (await testApp.mails()).find(({ to }) => to === email)?.token);
  return testApp.login(email);
}

async function startAsJohn(env: Record<string, string> = {}) {
  const testApp = await startApp(env);
  const john = await enter(testApp, JOHN);
  const patch = (body: object, token = john.accessToken) => testApp.request({ method: 'PATCH', url: '/users/me', headers: bearer(token), payload: { password: PASSWORD, ...body } });
  const remove = (body: object = { password: PASSWORD }) => testApp.request({ method: 'DELETE', url: '/users/me', headers: bearer(john.accessToken), payload: body });
  const me = async () => (await testApp.get('/users/me', john.accessToken)).json<{ email: string; username: string | null; email_verified: boolean }>();
  return { ...testApp, testApp, john, patch, remove, me };
}

test('an address that another account has is refused, where registering says so, too', async () => {
  const { testApp, patch, me } = await startAsJohn();
  await testApp.post('/auth/register', { email: NEXT, password: PASSWORD });
  await testApp.mails();
  expect(problemOf(await patch({ email: NEXT }))).toBe('409 identifier_taken');
  expect((await me()).email).toBe(JOHN);
  expect(await testApp.mails()).toEqual([]);
});

describe('the username', () => {
  test('changes at once, also in case alone, and signs in', async () => {
    const { testApp, patch, me, events } = await startAsJohn();
    const answer = await patch({ username: 'JohnDoe' });
    expect([answer.statusCode, answer.json()]).toEqual([200, expect.objectContaining({ username: 'JohnDoe', email: JOHN, email_verified: true })]);
    expect((await patch({ username: 'johndoe' })).json()).toMatchObject({ username: 'johndoe' });
    expect((await me()).username).toBe('johndoe');
    expect((await signIn(testApp, { username: 'JOHNDOE' })).statusCode).toBe(200);
    expect((await patch({ username: 'johndoe' })).statusCode).toBe(200);
    expect(events().filter((event) => event === 'username_changed')).toHaveLength(2);
  });

  test('that changed is mailed to the owner, and one that did not change is not', async () => {
    const { testApp, patch } = await startAsJohn();
    await patch({ username: 'JohnDoe' });
    const [told, ...others] = await testApp.mails();
    expect(others).toEqual([]);
    expect(told).toMatchObject({ to: JOHN, link: null, subject: expect.stringMatching(/username was changed/) });
    expect(told!.text).toContain('JohnDoe');
    await patch({ username: 'JohnDoe' });
    await patch({ username: 'taken', password: 'a wrong guess' });
    expect(await testApp.mails()).toEqual([]);
  });

  test('is not told in full to an address that was never verified, which may be a stranger’s', async () => {
    const testApp = await startApp();
    const { accessToken } = await testApp.register('mistyped@example.com');
    await testApp.mails();
    const payload = { username: 'private_name', password: PASSWORD };
    await testApp.request({ method: 'PATCH', url: '/users/me', headers: bearer(accessToken), payload });
    const [told] = await testApp.mails();
    expect(told!.text).toContain('p…');
    expect(JSON.stringify(told)).not.toContain('private_name');
  });

  test('changes without a mail where the account has no address', async () => {
    const { testApp, patch } = await startAsJohn();
    const { access_token } = (await testApp.post('/auth/register', { username: 'jane', password: PASSWORD })).json<{ access_token: string }>();
    expect((await patch({ username: 'jane_2' }, access_token)).statusCode).toBe(200);
    expect(await testApp.mails()).toEqual([]);
  });

  test('of another is refused, and nothing else of the request is done', async () => {
    const { testApp, patch, me } = await startAsJohn();
    await testApp.post('/auth/register', { username: 'taken', password: PASSWORD });
    expect((await patch({ username: 'TAKEN', email: NEXT })).json()).toMatchObject({ status: 409, errors: [{ pointer: '/username' }] });
    expect(await me()).toMatchObject({ username: null, email: JOHN });
    expect(await testApp.mails()).toEqual([]);
  });

  test('changes where no mails are sent, but an address does not', async () => {
    const testApp = await startApp(WITHOUT_MAIL);
    const { accessToken } = await testApp.register();
    const patch = (payload: object) => testApp.request({ method: 'PATCH', url: '/users/me', headers: bearer(accessToken), payload: { password: PASSWORD, ...payload } });
    expect((await patch({ username: 'john' })).statusCode).toBe(200);
    expect(problemOf(await patch({ username: 'jack', email: NEXT }))).toBe('501 mail_off');
    expect((await testApp.get('/users/me', accessToken)).json()).toMatchObject({ username: 'john', email: JOHN });
  });
});

describe('a new e-mail address', () => {
  test('counts once it is verified; the old one is told before and after, and its links end', async () => {
    const { testApp, patch, me, events } = await startAsJohn();
    await testApp.post('/auth/forgot-password', { email: JOHN });
    const [forgotten] = await testApp.mails();
    expect((await patch({ email: 'John.Doe@Example.com' })).json()).toMatchObject({ email: JOHN, email_verified: true });
    const asked = await testApp.mails();
    expect(shapes(asked)).toEqual([`${NEXT} verify-email`, `${JOHN} notice`]);
    expect(asked.find(({ to }) => to === JOHN)!.text).toContain(NEXT);
    expect(await me()).toMatchObject({ email: JOHN });
    expect((await signIn(testApp, { email: NEXT })).statusCode).toBe(401);

    expect((await verify(testApp, asked.find(({ to }) => to === NEXT)!.token)).statusCode).toBe(200);
    expect(await me()).toMatchObject({ email: NEXT, email_verified: true });
    expect(shapes(await testApp.mails())).toEqual([`${JOHN} notice`]);
    expect((await signIn(testApp, { email: JOHN })).statusCode).toBe(401);
    expect((await signIn(testApp, { email: NEXT })).statusCode).toBe(200);
    expect(problemOf(await testApp.post('/auth/change-password', { token: forgotten!.token, new_password: NEW }))).toBe('400 link_invalid');
    expect(events()).toEqual(expect.arrayContaining(['email_change_requested', 'email_changed']));
    expect(testApp.logLines.join('')).not.toContain('@');
  });

  test.each([0, 1])('can be asked for anew by a resend, which goes to the new address; link %i works', async (used) => {
    const { testApp, patch, john, me } = await startAsJohn();
    await patch({ email: NEXT });
    const first = (await testApp.mails()).find(({ to }) => to === NEXT);
    await testApp.post('/auth/verify-email/resend', {}, bearer(john.accessToken));
    const again = await testApp.mails();
    expect(shapes(again)).toEqual([`${NEXT} verify-email`]);
    const tokens = [first!.token, again[0]!.token];
    expect((await verify(testApp, tokens[used])).statusCode).toBe(200);
    expect((await me()).email).toBe(NEXT);
    expect(problemOf(await verify(testApp, tokens[1 - used]))).toBe('400 link_invalid');
  });

  test('is off when the owner asks for the present one, and nothing is mailed', async () => {
    const { testApp, patch, john, me, events } = await startAsJohn();
    await patch({ email: 'typo@example.com' });
    const typo = (await testApp.mails()).find(({ to }) => to === 'typo@example.com');
    expect(events()).not.toContain('email_change_withdrawn');
    expect((await patch({ email: 'JOHN@example.com' })).json()).toMatchObject({ email: JOHN });
    expect(events().filter((event) => event === 'email_change_withdrawn')).toHaveLength(1);
    expect(problemOf(await verify(testApp, typo!.token))).toBe('400 link_invalid');
    await testApp.post('/auth/verify-email/resend', {}, bearer(john.accessToken));
    expect(await testApp.mails()).toEqual([]);
    await patch({ email: JOHN });
    expect(events().filter((event) => event === 'email_change_withdrawn'), 'nothing was pending').toHaveLength(1);
    expect((await me()).email).toBe(JOHN);
  });

  test('is off when the owner asks for another one; asking for the same again keeps it', async () => {
    const { testApp, patch, me } = await startAsJohn();
    await patch({ email: 'typo@example.com' });
    const typo = (await testApp.mails()).find(({ to }) => to === 'typo@example.com');
    await patch({ email: NEXT });
    const next = (await testApp.mails()).find(({ to }) => to === NEXT);
    await patch({ email: NEXT });
    expect(problemOf(await verify(testApp, typo!.token))).toBe('400 link_invalid');
    expect((await verify(testApp, next!.token)).statusCode).toBe(200);
    expect((await me()).email).toBe(NEXT);
  });

  test('goes on whatever else is done: a wrong password, another name, and a stranger who asks for mails', async () => {
    const testApp = await startApp();
    const { accessToken } = await testApp.register();
    const patch = (payload: object) =>
      testApp.request({ method: 'PATCH', url: '/users/me', headers: bearer(accessToken), payload: { password: PASSWORD, ...payload } });
    await testApp.mails();
    await patch({ email: NEXT });
    const change = (await testApp.mails()).find(({ to }) => to === NEXT);
    await patch({ email: JOHN, password: 'a wrong guess' });
    await patch({ username: 'john' });
    for (const path of ['/auth/verify-email/resend', '/auth/forgot-password']) await testApp.post(path, { email: JOHN });
    const own = (await testApp.mails()).find(({ link }) => link?.includes('/verify-email'));
    expect(own?.to).toBe(JOHN);
    expect((await verify(testApp, own!.token)).statusCode).toBe(200);
    expect((await verify(testApp, change!.token)).statusCode).toBe(200);
    expect((await testApp.get('/users/me', accessToken)).json()).toMatchObject({ email: NEXT, email_verified: true });
  });

  test('is given up by a change of the password', async () => {
    const { testApp, patch, john, me } = await startAsJohn();
    await patch({ email: NEXT });
    const asked = (await testApp.mails()).find(({ to }) => to === NEXT);
    const changed = await testApp.post('/auth/change-password', { old_password: PASSWORD, new_password: NEW }, bearer(john.accessToken));
    Object.assign(john, tokensOf(changed));
    await testApp.mails();
    await testApp.post('/auth/verify-email/resend', {}, bearer(john.accessToken));
    expect(await testApp.mails()).toEqual([]);
    expect(problemOf(await verify(testApp, asked!.token))).toBe('400 link_invalid');
    expect((await me()).email).toBe(JOHN);
  });

  test('that is one’s own already changes nothing; an account without one gets one', async () => {
    const { testApp, patch } = await startAsJohn();
    expect((await patch({ email: 'JOHN@example.com' })).statusCode).toBe(200);
    expect(await testApp.mails()).toEqual([]);
    const { access_token } = (await testApp.post('/auth/register', { username: 'jane', password: PASSWORD })).json<{ access_token: string }>();
    expect((await patch({ email: 'jane@example.com' }, access_token)).json()).toMatchObject({ email: null });
    const asked = await testApp.mails();
    expect(shapes(asked)).toEqual(['jane@example.com verify-email']);
    await verify(testApp, asked[0]!.token);
    expect((await signIn(testApp, { email: 'jane@example.com' })).json()).toMatchObject({ user: { username: 'jane', email_verified: true } });
  });

  test('that another account has is refused; one that is taken meanwhile cannot be verified until it is free again', async () => {
    const { testApp, patch, me, request } = await startAsJohn();
    await testApp.register('taken@example.com');
    await testApp.mails();
    expect((await patch({ email: 'taken@example.com', username: 'john' })).json()).toMatchObject({ status: 409, errors: [{ pointer: '/email' }] });
    expect(await testApp.mails()).toEqual([]);
    await patch({ email: NEXT });
    const asked = (await testApp.mails()).find(({ to }) => to === NEXT);
    const quicker = await testApp.register(NEXT);
    expect(problemOf(await verify(testApp, asked!.token))).toBe('409 identifier_taken');
    expect(await me()).toMatchObject({ email: JOHN, username: null });
    await request({ method: 'DELETE', url: '/users/me', headers: bearer(quicker.accessToken), payload: { password: PASSWORD } });
    expect((await verify(testApp, asked!.token)).statusCode).toBe(200);
    expect((await me()).email).toBe(NEXT);
  });

  test('is not told in full to an old one that was never verified, which may be a stranger’s and gets no flood of notices either', async () => {
    const testApp = await startApp(LIMITED);
    const { accessToken } = await testApp.register('mistyped@example.com');
    await testApp.mails();
    for (let index = 0; index < 8; index += 1) {
      const answer = await testApp.request({ method: 'PATCH', url: '/users/me', headers: bearer(accessToken), payload: { email: `private.name${index}@example.com`, password: PASSWORD } });
      expect(answer.statusCode).toBe(200);
    }
    const sent = await testApp.mails();
    const told = sent.filter(({ to }) => to === 'mistyped@example.com');
    expect(told).toHaveLength(2);
    expect(told[0]!.text).toContain('p…@example.com');
    expect(JSON.stringify(told)).not.toContain('private.name');
    expect(sent.filter(({ to }) => to.startsWith('private'))).toHaveLength(8);
  });

  test('gets no more than three mails at once, from whatever account; then nothing of the request is done', async () => {
    const { testApp, patch, me } = await startAsJohn(LIMITED);
    for (let times = 0; times < 3; times += 1) expect((await patch({ email: NEXT })).statusCode).toBe(200);
    const { accessToken } = await testApp.register('mallory@example.com');
    const answer = await patch({ email: NEXT, username: 'mallory' }, accessToken);
    expect([problemOf(answer), Number(answer.headers['retry-after'])]).toEqual(['429 too_many_attempts', 15 * 60]);
    expect((await patch({ email: NEXT, username: 'john' })).statusCode).toBe(429);
    expect((await me()).username).toBeNull();
    expect((await testApp.mails()).filter(({ to }) => to === NEXT)).toHaveLength(3);
    testApp.clock.now += 15 * MINUTE_MS;
    const { accessToken: later } = await testApp.login();
    expect((await patch({ email: NEXT, username: 'john' }, later)).statusCode).toBe(200);
  });
});

describe('under REQUIRE_EMAIL_VERIFICATION an address that is taken', () => {
  test('is answered like a free one; its owner is told, and who asked gets the same mails', async () => {
    const { testApp, patch } = await startAsJohn(QUIET);
    await enter(testApp, 'jane@example.com');
    const free = await patch({ email: 'free@example.com' });
    expect(shapes(await testApp.mails())).toEqual(['free@example.com verify-email', `${JOHN} notice`]);
    const taken = await patch({ email: 'jane@example.com' });
    expect([taken.statusCode, taken.body]).toEqual([free.statusCode, free.body]);
    expect(shapes(await testApp.mails())).toEqual(['jane@example.com reset-password', `${JOHN} notice`]);
  });

  test('ends the link to another address like a free one does, and a resend tells the owner again', async () => {
    const { testApp, patch, john, me } = await startAsJohn(QUIET);
    await enter(testApp, 'jane@example.com');
    for (const [email, link] of [['free@example.com', 'verify-email'], ['jane@example.com', 'reset-password']]) {
      await patch({ email: 'mine.too@example.com' });
      const mine = (await testApp.mails()).find(({ to }) => to === 'mine.too@example.com');
      await patch({ email });
      await testApp.mails();
      expect(problemOf(await verify(testApp, mine!.token))).toBe('400 link_invalid');
      expect((await testApp.post('/auth/verify-email/resend', {}, bearer(john.accessToken))).statusCode).toBe(200);
      expect(shapes(await testApp.mails())).toEqual([`${email} ${link}`]);
    }
    expect((await me()).email).toBe(JOHN);
  });

  test('keeps nobody from a username, and a username that is taken is told', async () => {
    const { testApp, patch } = await startAsJohn(QUIET);
    await enter(testApp, 'jane@example.com');
    expect((await patch({ email: 'jane@example.com', username: 'john' })).json()).toMatchObject({ username: 'john', email: JOHN });
    const { access_token } = (await signIn(testApp, { email: 'jane@example.com' })).json<{ access_token: string }>();
    expect((await patch({ email: NEXT, username: 'john' }, access_token)).json()).toMatchObject({ status: 409, errors: [{ pointer: '/username' }] });
  });
});

describe('what changes an account', () => {
  test('needs the password, and says what may be changed', async () => {
    const { testApp, patch, remove, me, request, events } = await startAsJohn();
    const wrong = { password: 'a wrong guess' };
    expect(problemOf(await patch({ ...wrong, username: 'jack', email: NEXT }))).toBe('401 invalid_credentials');
    expect(problemOf(await remove(wrong))).toBe('401 invalid_credentials');
    expect((await patch({})).json()).toMatchObject({ status: 422, errors: [{ pointer: '', detail: 'needs email or username' }] });
    expect((await patch({ username: 'jack', roles: ['admin'] })).statusCode).toBe(422);
    expect((await patch({ email_verified: true })).statusCode).toBe(422);
    expect((await request({ method: 'PATCH', url: '/users/me', payload: { username: 'jack', password: PASSWORD } })).statusCode).toBe(401);
    expect(problemOf(await request({ method: 'DELETE', url: '/users/me', payload: { password: PASSWORD } }))).toBe('401 access_token_missing');
    expect((await remove({})).statusCode).toBe(422);
    expect(await me()).toMatchObject({ email: JOHN, username: null });
    expect(await testApp.mails()).toEqual([]);
    expect(events()).toEqual(expect.arrayContaining(['profile_change_refused', 'account_deletion_refused']));
  });

  test('is refused after too many wrong passwords, also with the right one', async () => {
    const { patch, remove } = await startAsJohn(LIMITED);
    for (let times = 0; times < 5; times += 1) await patch({ username: 'jack', password: 'a wrong guess' });
    for (const answer of [await patch({ username: 'jack' }), await remove()]) {
      expect(problemOf(answer)).toBe('429 too_many_attempts');
      expect(answer.headers['retry-after']).toBe('1');
    }
  });

  test.each(['PATCH', 'DELETE'] as const)('loses against a reset of the password that comes between: %s', async (method) => {
    const { app, testApp, patch, remove } = await startAsJohn();
    await testApp.post('/auth/forgot-password', { email: JOHN });
    const [forgotten] = await testApp.mails();
    const check = app.passwords.verify;
    vi.spyOn(app.passwords, 'verify').mockImplementationOnce(async (...guess) => {
      const fits = await check(...guess);
      expect((await testApp.post('/auth/change-password', { token: forgotten!.token, new_password: NEW })).statusCode).toBe(200);
      return fits;
    });
    const answer = await (method === 'PATCH' ? patch({ email: 'thief@example.com', username: 'thief' }) : remove());
    expect(problemOf(answer)).toBe('401 invalid_credentials');
    expect(shapes(await testApp.mails())).toEqual([`${JOHN} notice`]);
    expect((await signIn(testApp, { email: JOHN, password: NEW })).json()).toMatchObject({ user: { email: JOHN, username: null } });
  });

  test('and a resend for the address that a thief wants loses against it, too', async () => {
    const { app, testApp, patch, john } = await startAsJohn();
    await patch({ email: 'thief@example.com' });
    await testApp.post('/auth/forgot-password', { email: JOHN });
    const forgotten = (await testApp.mails()).find(({ link }) => link?.includes('reset-password'));
    const find = app.store.users.findByIdentifier;
    vi.spyOn(app.store.users, 'findByIdentifier').mockImplementationOnce(async (email, username) => {
      expect((await testApp.post('/auth/change-password', { token: forgotten!.token, new_password: NEW })).statusCode).toBe(200);
      return find(email, username);
    });
    expect((await testApp.post('/auth/verify-email/resend', {}, bearer(john.accessToken))).statusCode).toBe(200);
    expect(shapes(await testApp.mails())).toEqual([`${JOHN} notice`]);
  });
});

describe('an account that is deleted', () => {
  test('is gone with its sessions and tokens at once; its address is told, and free', async () => {
    const { testApp, remove, john, get, refresh, app, events } = await startAsJohn();
    const elsewhere = await testApp.login();
    await testApp.post('/auth/forgot-password', { email: JOHN });
    const [forgotten] = await testApp.mails();
    const answer = await remove();
    expect([answer.statusCode, answer.body, cookieOf(answer)?.value]).toEqual([204, '', '']);
    for (const { accessToken, refreshToken } of [john, elsewhere]) {
      expect(problemOf(await get('/users/me', accessToken))).toBe('401 access_token_invalid');
      expect(problemOf(await refresh(refreshToken))).toBe('401 refresh_token_invalid');
    }
    expect((await signIn(testApp, { email: JOHN })).statusCode).toBe(401);
    expect(problemOf(await testApp.post('/auth/change-password', { token: forgotten!.token, new_password: NEW }))).toBe('400 link_invalid');
    expect(await app.store.users.find(john.userId)).toBeUndefined();
    expect(await app.store.sessions.list(john.userId, { createdAt: Number.MAX_SAFE_INTEGER, id: '' }, 100)).toEqual([]);
    expect(shapes(await testApp.mails())).toEqual([`${JOHN} notice`]);
    expect(events()).toContain('account_deleted');
    expect((await testApp.post('/auth/register', { email: JOHN, password: PASSWORD })).statusCode).toBe(201);
  });

  test('is deleted by one of many requests; the others find it gone', async () => {
    const { remove } = await startAsJohn();
    const statuses = (await Promise.all(Array.from({ length: 5 }, () => remove()))).map(({ statusCode }) => statusCode);
    expect(statuses).toContain(204);
    expect(statuses.filter((status) => status !== 204 && status !== 401)).toEqual([]);
  });

  test('tells no address that it does not have', async () => {
    const testApp = await startApp();
    const { access_token } = (await testApp.post('/auth/register', { username: 'jane', password: PASSWORD })).json<{ access_token: string }>();
    expect((await testApp.request({ method: 'DELETE', url: '/users/me', headers: bearer(access_token), payload: { password: PASSWORD } })).statusCode).toBe(204);
    expect(await testApp.mails()).toEqual([]);
  });
});
