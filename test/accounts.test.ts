import argon2 from 'argon2';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { chooseArgon2 } from '../src/core/argon2.ts';
import { bearer, cookieOf, PASSWORD, problemOf, startApp, temporaryFolder, tokensOf } from './support/app.ts';

describe('signing up', () => {
  test('makes an account and signs it in', async () => {
    const { post, get } = await startApp();
    const answer = await post('/auth/register', { email: 'John@Example.com', username: 'JohnDoe', password: PASSWORD });
    expect(answer.statusCode).toBe(201);
    const body = answer.json<{ user: object; access_token: string }>();
    expect(body).toEqual({
      msg: 'user created',
      user: { id: expect.any(String), email: 'john@example.com', username: 'JohnDoe', email_verified: false, roles: [], created_at: expect.any(String) },
      access_token: expect.any(String), token_type: 'bearer', expires_in: 900, refresh_token: expect.stringMatching(/^rt1\./),
    });
    expect(cookieOf(answer)).toMatchObject({ name: 'refresh_token', httpOnly: true, sameSite: 'Strict', path: '/' });
    expect((await get('/users/me', body.access_token)).json()).toEqual(body.user);
  });

  test.each([
    [{ email: 'jane@example.com' }],
    [{ username: 'jane_1' }],
  ])('works with %j alone', async (identifier) => {
    const { post } = await startApp();
    expect((await post('/auth/register', { ...identifier, password: PASSWORD })).statusCode).toBe(201);
    expect((await post('/auth/login', { ...identifier, password: PASSWORD })).statusCode).toBe(200);
  });

  test('an identifier is taken without regard to case, and the answer says which', async () => {
    const { post } = await startApp();
    await post('/auth/register', { email: 'john@example.com', username: 'john', password: PASSWORD });
    const taken = async (body: object) => (await post('/auth/register', { ...body, password: PASSWORD })).json<{ status: number; errors: { pointer: string }[] }>();
    expect(await taken({ email: 'JOHN@example.com' })).toMatchObject({ status: 409, errors: [{ pointer: '/email' }] });
    expect(await taken({ email: 'other@example.com', username: 'JOHN' })).toMatchObject({ status: 409, errors: [{ pointer: '/username' }] });
    expect((await taken({ email: 'john@example.com', username: 'john' })).errors).toHaveLength(2);
    expect((await post('/auth/login', { email: 'other@example.com', password: PASSWORD })).statusCode).toBe(401);
  });

  test('of many at once with one address exactly one wins, and no other leaves a session behind', async () => {
    const { post, get } = await startApp();
    const answers = await Promise.all(Array.from({ length: 10 }, () => post('/auth/register', { email: 'john@example.com', password: PASSWORD })));
    const won = answers.filter(({ statusCode }) => statusCode === 201);
    expect(won).toHaveLength(1);
    expect(answers.filter(({ statusCode }) => statusCode === 409)).toHaveLength(9);
    const { access_token } = won[0]!.json<{ access_token: string }>();
    expect((await get('/auth/sessions', access_token)).json<{ sessions: unknown[] }>().sessions).toHaveLength(1);
  });

  test.each([
    ['no identifier', { password: PASSWORD }, [{ pointer: '', detail: 'needs email or username' }]],
    ['a malformed address', { email: 'john@', password: PASSWORD }, [{ pointer: '/email', detail: 'must match format "email"' }]],
    ['a username with other characters', { username: 'jo hn', password: PASSWORD }, [{ pointer: '/username', detail: 'must match pattern "^[A-Za-z0-9_]+$"' }]],
    ['no password', { username: 'john' }, [{ pointer: '/password', detail: 'is required' }]],
    ['a short password', { username: 'john', password: '1234567' }, [{ pointer: '/password', detail: 'must have at least 8 characters' }]],
    ['a long password', { username: 'john', password: 'x'.repeat(257) }, [{ pointer: '/password', detail: 'must have at most 256 characters' }]],
    ['a role', { username: 'john', password: PASSWORD, roles: ['admin'] }, [{ pointer: '', detail: 'has a field that is not allowed; allowed are email, username, password' }]],
  ])('with %s is refused, and says which rule of which field', async (_name, body, errors) => {
    const { post } = await startApp();
    const answer = await post('/auth/register', body);
    expect(answer.statusCode).toBe(422);
    expect(answer.json()).toMatchObject({ errors });
    expect(cookieOf(answer)).toBeUndefined();
  });

  test('the letter-and-digit rule is off, and can be switched on', async () => {
    const lenient = await startApp();
    expect((await lenient.post('/auth/register', { username: 'john', password: 'only letters' })).statusCode).toBe(201);
    const strict = await startApp({ PASSWORD_REQUIRE_LETTER_AND_DIGIT: 'true' });
    const answer = await strict.post('/auth/register', { username: 'john', password: 'only letters' });
    expect(answer.json()).toMatchObject({ status: 422, errors: [{ pointer: '/password', detail: 'must have a letter and a digit' }] });
    expect((await strict.post('/auth/register', { username: 'john', password: 'letters 1' })).statusCode).toBe(201);
  });
});

describe('passwords', () => {
  const LONG = 'a long passphrase '.repeat(4);

  test.each([
    ['the 73rd byte', `${LONG}a`, `${LONG}b`],
    ['what follows a NUL', 'abcdefgh\0one', 'abcdefgh\0two'],
    ['case', 'Passphrase one', 'passphrase one'],
    ['a space at the end', 'passphrase one ', 'passphrase one'],
    ['a ligature', 'ﬁne passphrase', 'fine passphrase'],
  ])('differ by %s', async (_name, right, wrong) => {
    const { post } = await startApp();
    await post('/auth/register', { username: 'john', password: right });
    expect((await post('/auth/login', { username: 'john', password: wrong })).statusCode).toBe(401);
    expect((await post('/auth/login', { username: 'john', password: right })).statusCode).toBe(200);
  });

  test('are the same however a keyboard composes them, and count as characters, not bytes', async () => {
    const { post } = await startApp({ PASSWORD_MIN_LENGTH: '15' });
    const composed = 'café au lait ☕🥐';
    expect(Array.from(composed.normalize('NFC'))).toHaveLength(15);
    expect((await post('/auth/register', { username: 'john', password: composed.normalize('NFD') })).statusCode).toBe(201);
    expect((await post('/auth/login', { username: 'john', password: composed.normalize('NFC') })).statusCode).toBe(200);
    expect((await post('/auth/register', { username: 'jane', password: '🥐'.repeat(14) })).statusCode).toBe(422);
  });

  test('are stored as argon2id at OWASP’s cost by default', async () => {
    const { app, register } = await startApp({ ARGON2_MEMORY_KIB: '', ARGON2_TIME_COST: '' });
    const { userId } = await register();
    expect((await app.store.users.find(userId))?.passwordHash).toMatch(/^\$argon2id\$v=19\$m=19456,(p=1,t=2|t=2,p=1)\$/);
  });

  test('hashed at another cost are hashed anew at the next sign-in, and only then', async () => {
    const folder = temporaryFolder();
    const before = await startApp({ DATA_DIR: folder });
    const { userId } = await before.register();
    const oldHash = (await before.app.store.users.find(userId))!.passwordHash;
    const after = await startApp({ DATA_DIR: folder, ARGON2_TIME_COST: '3' });
    expect((await after.post('/auth/login', { email: 'john@example.com', password: 'wrong password' })).statusCode).toBe(401);
    expect((await after.app.store.users.find(userId))!.passwordHash).toBe(oldHash);
    const racing = await Promise.all(Array.from({ length: 5 }, () => after.post('/auth/login', { email: 'john@example.com', password: PASSWORD })));
    expect(racing.map(({ statusCode }) => statusCode)).toEqual([200, 200, 200, 200, 200]);
    const newHash = (await after.app.store.users.find(userId))!.passwordHash;
    expect(newHash).toContain('t=3');
    expect(await argon2.verify(newHash, PASSWORD)).toBe(true);
    await after.login();
    expect((await after.app.store.users.find(userId))!.passwordHash).toBe(newHash);
  });

  test.each([1, 2, 17, 60])('of %i requests at once, whatever they ask, are all answered', async (count) => {
    const { post, register } = await startApp();
    await register();
    const answers = await Promise.all(Array.from({ length: count }, (_, index) => (index % 3 === 0
      ? post('/auth/login', { email: `user${index}@example.com`, password: 'wrong password' })
      : index % 3 === 1 ? post('/auth/register', { username: `user${index}`, password: PASSWORD }) : post('/auth/login', { email: 'john@example.com', password: PASSWORD }))));
    expect(answers.map(({ statusCode }) => statusCode)).toEqual(answers.map((_, index) => [401, 201, 200][index % 3]));
  });

  test('whose hash cannot be computed are answered 503, and nothing is half done', async () => {
    const { post, events } = await startApp();
    const failing = vi.spyOn(await chooseArgon2(), 'hash').mockRejectedValueOnce(new Error('Memory allocation error'));
    onTestFinished(() => failing.mockRestore());
    const register = () => post('/auth/register', { username: 'john', password: PASSWORD });
    const refused = await register();
    expect([problemOf(refused), refused.headers['retry-after']]).toEqual(['503 hash_not_computed', '2']);
    expect(events()).not.toContain('registered');
    expect((await register()).statusCode).toBe(201);
  });

  test('past the limit of the queue are refused with 503 and Retry-After, and nothing is half done', async () => {
    const { post } = await startApp({ PASSWORD_QUEUE_LIMIT: '0', ARGON2_MEMORY_KIB: '65536', ARGON2_TIME_COST: '3' });
    const names = Array.from({ length: 12 }, (_, index) => `user${index}`);
    const answers = await Promise.all(names.map((username) => post('/auth/register', { username, password: PASSWORD })));
    const refused = answers.filter(({ statusCode }) => statusCode === 503);
    expect(refused.length).toBeGreaterThan(0);
    expect(answers.some(({ statusCode }) => statusCode === 201)).toBe(true);
    expect(problemOf(refused[0]!)).toBe('503 overloaded');
    expect(refused[0]!.headers['retry-after']).toBe('2');
    const name = names[answers.indexOf(refused[0]!)];
    expect((await post('/auth/register', { username: name, password: PASSWORD })).statusCode).toBe(201);
  });
});

describe('signing in', () => {
  test('gives the same refusal for a wrong password, an unknown account and a broken hash', async () => {
    const { app, post, register } = await startApp();
    const { userId } = await register();
    const refusal = async (body: object) => {
      const answer = await post('/auth/login', body);
      const problem = { ...answer.json<object>(), request_id: 'differs' };
      return { problem, headers: Object.keys(answer.headers).sort(), challenge: answer.headers['www-authenticate'] };
    };
    const wrong = await refusal({ email: 'john@example.com', password: 'wrong password' });
    expect(wrong).toMatchObject({ problem: { status: 401, detail: 'Invalid credentials' }, challenge: 'Bearer' });
    expect(await refusal({ email: 'nobody@example.com', password: 'wrong password' })).toEqual(wrong);
    expect(await refusal({ username: 'nobody', password: 'x' })).toEqual(wrong);
    const { passwordHash } = (await app.store.users.find(userId))!;
    await app.store.transact([app.store.users.replacePasswordHash({ id: userId, oldHash: passwordHash, newHash: 'no hash at all', changedAt: 0 })]);
    expect(await refusal({ email: 'john@example.com', password: PASSWORD })).toEqual(wrong);
  });

  test('takes one identifier, in any case', async () => {
    const { post } = await startApp();
    await post('/auth/register', { email: 'john@example.com', username: 'john', password: PASSWORD });
    expect((await post('/auth/login', { email: 'JOHN@EXAMPLE.COM', password: PASSWORD })).statusCode).toBe(200);
    expect((await post('/auth/login', { username: 'JOHN', password: PASSWORD })).statusCode).toBe(200);
    expect((await post('/auth/login', { email: 'john@example.com', username: 'john', password: PASSWORD })).statusCode).toBe(422);
    expect((await post('/auth/login', { username: 'john@example.com', password: PASSWORD })).statusCode).toBe(401);
  });

  test('with an identifier that no database can hold is refused, not broken', async () => {
    const { post } = await startApp();
    for (const identifier of [{ email: 'john\0@example.com' }, { username: '\0' }]) {
      expect((await post('/auth/login', { ...identifier, password: PASSWORD })).json()).toMatchObject({ status: 422, errors: [{ pointer: `/${Object.keys(identifier)[0]}` }] });
    }
    for (const email of ['💩\u{10FFFF}\u001f@\u202e', ' ', '', '%00']) expect((await post('/auth/login', { email, password: PASSWORD })).statusCode).toBe(401);
  });

  test('begins a new session each time, and adopts no token that came along', async () => {
    const { post, register } = await startApp();
    const { refreshToken } = await register();
    const answer = await post('/auth/login', { email: 'john@example.com', password: PASSWORD }, { cookie: `refresh_token=${refreshToken}` });
    expect(cookieOf(answer)!.value.split('.')[1]).not.toBe(refreshToken.split('.')[1]);
  });
});

describe('changing the password', () => {
  const change = (old_password: string, new_password: string) => ({ old_password, new_password });
  const NEW = 'another long passphrase';

  test('needs the old one, ends every session, and answers as a sign-in does with a new one', async () => {
    const { app, clock, post, get, refresh, register, login, logLines } = await startApp();
    const here = await register();
    const there = await login();
    clock.now += 60_000;
    logLines.length = 0;
    const answer = await post('/auth/change-password', change(PASSWORD, NEW), { ...bearer(here.accessToken), cookie: `refresh_token=${here.refreshToken}` });
    const now = tokensOf(answer);
    expect(answer.json()).toEqual({
      msg: 'Password changed successfully', user: (await get('/users/me', now.accessToken)).json(), access_token: now.accessToken,
      token_type: 'bearer', expires_in: 900, refresh_token: now.refreshToken,
    });
    expect(cookieOf(answer)).toMatchObject({ value: now.refreshToken, maxAge: 7 * 86_400, httpOnly: true });
    expect(answer.cookies.map(({ name }) => name).sort()).toEqual(['device', 'refresh_token']);
    for (const { accessToken, refreshToken } of [here, there]) {
      expect(problemOf(await get('/users/me', accessToken))).toBe('401 access_token_invalid');
      expect(problemOf(await refresh(refreshToken))).toBe('401 session_ended');
    }
    expect((await refresh(now.refreshToken)).statusCode).toBe(200);
    const claims = JSON.parse(Buffer.from(now.accessToken.split('.')[1]!, 'base64url').toString()) as { auth_time: number };
    expect(claims.auth_time).toBe(Math.floor(clock.now / 1000));
    const [line] = logLines.map((each) => JSON.parse(each) as Record<string, unknown>).filter(({ event }) => event === 'password_changed');
    const [, sessionId] = now.refreshToken.split('.');
    expect(line).toMatchObject({ user_id: here.userId, session_id: sessionId, sessions_ended: 2, replaced: [here.refreshToken.split('.')[1]] });
    expect((await app.store.sessions.find(there.refreshToken.split('.')[1]!))?.session.revokedReason).toBe('password_changed');
    expect((await post('/auth/login', { email: 'john@example.com', password: PASSWORD })).statusCode).toBe(401);
    expect((await post('/auth/login', { email: 'john@example.com', password: NEW })).statusCode).toBe(200);
  });

  test('is refused with a wrong old, a weak new, or no sign-in, and changes nothing', async () => {
    const { post, get, register, login } = await startApp();
    const here = await register();
    const there = await login();
    const attempt = (body: object, headers = bearer(here.accessToken)) => post('/auth/change-password', body, headers);
    expect(problemOf(await attempt(change('wrong password', NEW)))).toBe('401 invalid_credentials');
    expect((await attempt(change(PASSWORD, 'short'))).json()).toMatchObject({ status: 422, errors: [{ pointer: '/new_password' }] });
    expect(problemOf(await attempt({ new_password: NEW }))).toBe('422 invalid_input');
    expect(problemOf(await attempt(change(PASSWORD, NEW), {}))).toBe('401 access_token_missing');
    expect((await get('/users/me', there.accessToken)).statusCode).toBe(200);
    expect((await post('/auth/login', { email: 'john@example.com', password: PASSWORD })).statusCode).toBe(200);
  });

  test('needs another password than the old one, however a keyboard composes it, and changes nothing otherwise', async () => {
    const { post, get, register, login, mails, events } = await startApp();
    const OLD = 'café au lait, please';
    const here = await register('john@example.com', OLD);
    const there = await login('john@example.com', OLD);
    await mails();
    for (const same of [OLD, OLD.normalize('NFD')]) {
      const answer = await post('/auth/change-password', change(OLD, same), bearer(here.accessToken));
      expect(answer.json()).toMatchObject({ status: 422, errors: [{ pointer: '/new_password', detail: 'must not be the old password' }] });
    }
    expect((await get('/users/me', there.accessToken)).statusCode).toBe(200);
    expect(await mails()).toEqual([]);
    expect(events()).not.toContain('password_changed');
  });

  test('many at once: one new password counts', async () => {
    const { post, register } = await startApp();
    const here = await register();
    const answers = await Promise.all(Array.from({ length: 5 }, (_, index) =>
      post('/auth/change-password', change(PASSWORD, `${NEW} ${index}`), bearer(here.accessToken))));
    expect(answers.map(({ statusCode }) => statusCode).sort()).toEqual([200, 401, 401, 401, 401]);
    const winner = answers.findIndex(({ statusCode }) => statusCode === 200);
    expect((await post('/auth/login', { email: 'john@example.com', password: `${NEW} ${winner}` })).statusCode).toBe(200);
  });

  test('ends a sign-in with the old one that had passed the check but not yet begun its session', async () => {
    const { app, post, get, register } = await startApp();
    const here = await register();
    const { verify } = app.passwords;
    let now = '';
    vi.spyOn(app.passwords, 'verify').mockImplementationOnce(async (...guess) => {
      const fits = await verify(...guess);
      now = tokensOf(await post('/auth/change-password', change(PASSWORD, NEW), bearer(here.accessToken))).accessToken;
      return fits;
    });
    expect((await post('/auth/login', { email: 'john@example.com', password: PASSWORD })).statusCode).toBe(401);
    const { sessions } = (await get('/auth/sessions', now)).json<{ sessions: unknown[] }>();
    expect(sessions).toHaveLength(1);
  });

  test('is not lost when a sign-in hashes the old one anew meanwhile', async () => {
    const { app, post, register } = await startApp();
    const { accessToken, userId } = await register();
    const { verify } = app.passwords;
    vi.spyOn(app.passwords, 'verify').mockImplementationOnce(async (password, hash, name) => {
      const newHash = await app.passwords.hash(password);
      await app.store.transact([app.store.users.replacePasswordHash({ id: userId, oldHash: hash!, newHash, changedAt: 0 })]);
      return verify(password, hash, name);
    });
    expect((await post('/auth/change-password', change(PASSWORD, NEW), bearer(accessToken))).statusCode).toBe(200);
    expect((await post('/auth/login', { email: 'john@example.com', password: NEW })).statusCode).toBe(200);
  });
});
