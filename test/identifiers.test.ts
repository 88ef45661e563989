import { describe, expect, test } from 'vitest';
import { bearer, PASSWORD, problemOf, startApp } from './support/app.ts';

/** An address of exactly so many characters before the @, in the first label, and in all. */
const withLocalPart = (length: number) => `${'a'.repeat(length)}@example.com`;
const withLabel = (length: number) => `a@${'b'.repeat(length)}.example.com`;
const ofLength = (length: number) => `a@${`${'b'.repeat(49)}.`.repeat(4)}${'c'.repeat(length - 206)}.com`;

const POSSIBLE = [
  'a@b.cd', 'a@b.c', "o'neil+tag=x?y@b.cd", 'john.doe@mail-1.example.com', 'a@1.2.example', 'a@xn--bcher-kva.example',
  withLocalPart(64), withLabel(63), ofLength(254), 'a=?b@example.com',
];
const IMPOSSIBLE = [
  withLocalPart(65), withLabel(64), ofLength(255), 'a@127.0.0.1', 'a@[127.0.0.1]', 'a@0x7f.1', 'a@example.123', 'a@b', 'a@b.cd.',
  'a@-b.cd', 'a@b-.cd', 'a@b..cd', 'a.@b.cd', '.a@b.cd', 'a..b@c.de', '"a"@b.cd', 'ä@b.cd', 'a@bä.cd', 'a@b@c.de', 'a\n@b.cd', ' a@b.cd',
  '=?x?q?a=40evil.example=3e=00?=b@c.example', 'b=?utf-8?q?a?=@c.example', '\u212a@example.com', 'a@\u212a.com', '@b.cd', 'a@', '',
];

describe('an address that cannot exist is refused, and one that can is not', () => {
  test('when somebody signs up, by the same rule in both modes', async () => {
    for (const [env, status] of [[{}, 201], [{ REQUIRE_EMAIL_VERIFICATION: 'true' }, 202]] as const) {
      const { post, mails } = await startApp(env);
      for (const email of POSSIBLE) expect([email, (await post('/auth/register', { email, password: PASSWORD })).statusCode]).toEqual([email, status]);
      await mails();
      for (const email of IMPOSSIBLE) {
        const answer = await post('/auth/register', { email, password: PASSWORD });
        expect([email, problemOf(answer), answer.json<{ errors: { pointer: string }[] }>().errors[0]?.pointer]).toEqual([email, '422 invalid_input', '/email']);
      }
      expect(await mails()).toEqual([]);
    }
  });

  test('when a mail is asked for, or the address is to be changed', async () => {
    const { post, request, register, mails } = await startApp();
    const { accessToken } = await register();
    await mails();
    for (const email of IMPOSSIBLE) {
      for (const path of ['/auth/forgot-password', '/auth/verify-email/resend']) expect([email, problemOf(await post(path, { email }))]).toEqual([email, '422 invalid_input']);
      const changed = await request({ method: 'PATCH', url: '/users/me', headers: bearer(accessToken), payload: { email, password: PASSWORD } });
      expect([email, problemOf(changed)]).toEqual([email, '422 invalid_input']);
    }
    expect(await mails()).toEqual([]);
  });

  test('when a mail to it is already in the outbox: it is given up, and nothing is sent', async () => {
    const { app, register, mails, events } = await startApp();
    await register('j@example.com');
    await mails();
    const [user] = await app.store.users.findByIdentifier('j@example.com', null);
    await app.store.transact([app.store.users.verifyEmail({ id: user!.id, email: withLocalPart(65), usernameKey: null, now: 0 })]);
    const changed = await app.inject({ method: 'POST', url: '/auth/login', payload: { email: withLocalPart(65), password: PASSWORD } });
    const { access_token } = changed.json<{ access_token: string }>();
    await app.inject({ method: 'DELETE', url: '/users/me', headers: bearer(access_token), payload: { password: PASSWORD } });
    expect(await mails()).toEqual([]);
    expect(events()).toContain('mail_given_up');
    expect(events()).not.toContain('mail_failed');
  });
});

describe('a letter that only looks like another', () => {
  const KELVIN = '\u212a';

  test('is another: the Kelvin sign is no k, in an address or in a username, and İ is no i', async () => {
    const { post, register } = await startApp();
    await register('kim@example.com');
    expect((await post('/auth/register', { username: 'kim', password: PASSWORD })).statusCode).toBe(201);
    for (const identifier of [{ email: `${KELVIN}im@example.com` }, { email: 'k\u0130m@example.com' }, { username: `${KELVIN}im` }, { username: 'k\u0130m' }]) {
      expect([identifier, problemOf(await post('/auth/login', { ...identifier, password: PASSWORD }))]).toEqual([identifier, '401 invalid_credentials']);
    }
    for (const identifier of [{ email: 'KIM@Example.com' }, { username: 'KIM' }]) {
      expect((await post('/auth/login', { ...identifier, password: PASSWORD })).statusCode).toBe(200);
    }
  });

  test('does not share its wrong guesses with the other', async () => {
    const { post, register } = await startApp({ RATE_LIMIT_ENABLED: 'true' });
    await register('kim@example.com');
    const guess = async (email: string) => (await post('/auth/login', { email, password: 'wrong' })).statusCode;
    for (let guesses = 0; guesses < 5; guesses += 1) expect(await guess(`${KELVIN}im@example.com`)).toBe(401);
    expect([await guess(`${KELVIN}im@example.com`), await guess('kim@example.com')]).toEqual([429, 401]);
  });
});
