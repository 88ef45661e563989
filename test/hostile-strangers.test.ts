import { describe, expect, test } from 'vitest';
import { bearer, DAY_MS, PASSWORD, problemOf, startApp, type TestApp } from './support/app.ts';

const JOHN = 'john@example.com';
const MINUTE_MS = 60_000;
const QUARTER_MS = 15 * MINUTE_MS;
const LIMITED = { RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1000000', LOGIN_ATTEMPTS_LIMIT: '5' };

/** John's mailbox, with a stranger who asks for a reset in his name again and again. */
async function startAttacked() {
  const testApp = await startApp(LIMITED);
  const john = await testApp.register();
  const mailbox: { token: string; at: number }[] = [];
  const read = async () => {
    const mails = (await testApp.mails()).filter(({ to, link }) => to === JOHN && link?.includes('/reset-password'));
    mailbox.push(...mails.map(({ token }) => ({ token: token!, at: testApp.clock.now })));
    return mails.length;
  };
  await read();
  let asked = 0;
  const ask = (body: object) => testApp.request({
    method: 'POST', url: '/auth/forgot-password', payload: body, remoteAddress: `203.0.${(asked >> 8) % 256}.${(asked += 1) % 256}`,
  });
  /** So long the stranger asks whenever a mail may go: pauses are multiples of a quarter of an hour. */
  const attack = async (milliseconds: number) => {
    const end = testApp.clock.now + milliseconds;
    for (let guess = 0; guess < 6; guess += 1) await signIn(testApp, 'a wrong guess');
    for (let more = 0; more < 4; more += 1) await ask({ email: JOHN });
    await read();
    while (testApp.clock.now + QUARTER_MS <= end) {
      testApp.clock.now += QUARTER_MS;
      await ask({ email: JOHN });
      await read();
    }
    testApp.clock.now = end;
  };
  const reset = async (token: string, password: string) =>
    (await testApp.post('/auth/change-password', { token, new_password: password })).statusCode;
  return { ...testApp, testApp, john, mailbox, read, ask, attack, reset };
}

const signIn = ({ post }: TestApp, password: string) => post('/auth/login', { email: JOHN, password });

describe('a stranger who asks for resets day and night', () => {
  test('does not keep the owner out: on a new device, at any moment, the newest mail leads in at once', async () => {
    const { testApp, clock, mailbox, read, ask, attack, reset } = await startAttacked();
    let renewed = 0;
    for (const [visit, days] of [0, 0.05, 0.3, 1, 2, 2, 2, 3, 3, 4].entries()) {
      await attack(Math.floor((days + Math.random()) * DAY_MS));
      const cameAt = clock.now;
      const password = `a new passphrase ${visit}`;
      expect(problemOf(await signIn(testApp, PASSWORD)), 'strangers have closed the sign-in').toBe('429 too_many_attempts');
      expect((await ask({ email: JOHN })).statusCode).toBe(200);
      await read();
      if (await reset(mailbox.at(-1)!.token, password) !== 200) {
        renewed += 1;
        expect((await ask({ token: mailbox.at(-1)!.token })).statusCode).toBe(200);
        expect(await read(), 'an older link has another one sent').toBe(1);
        expect(await reset(mailbox.at(-1)!.token, password)).toBe(200);
      }
      expect((await signIn(testApp, password)).statusCode).toBe(200);
      expect(clock.now).toBe(cameAt);
    }
    expect(renewed).toBeGreaterThan(0);
  });

  test('lets a link come within a day to an owner who has kept none, and it leads in for a week', async () => {
    const { testApp, clock, mailbox, read, ask, attack, reset } = await startAttacked();
    await attack(4 * DAY_MS);
    const threwAwayAt = clock.now;
    mailbox.length = 0;
    while (mailbox.length === 0) await attack(QUARTER_MS);
    expect(clock.now - threwAwayAt).toBeLessThanOrEqual(DAY_MS);
    const { token } = mailbox[0]!;
    clock.now += 7 * DAY_MS;
    await ask({ token });
    await read();
    expect(await reset(mailbox.at(-1)!.token, 'a new passphrase')).toBe(200);
    expect((await signIn(testApp, 'a new passphrase')).statusCode).toBe(200);
  });

  test('causes no more mails than before: 15 in a week', async () => {
    const { mailbox, attack } = await startAttacked();
    await attack(7 * DAY_MS);
    expect(mailbox).toHaveLength(15);
  });

  test('cannot use up in advance the mails of an account that is still to be made', async () => {
    const testApp = await startApp(LIMITED);
    for (let times = 0; times < 10; times += 1) await testApp.post('/auth/forgot-password', { email: JOHN });
    await testApp.register();
    expect((await testApp.mails()).map(({ link }) => link?.includes('/verify-email'))).toEqual([true]);
    await testApp.post('/auth/forgot-password', { email: JOHN });
    expect((await testApp.mails()).map(({ link }) => link?.includes('/reset-password'))).toEqual([true]);
  });
});

describe('an older link', () => {
  test('has another mail sent, to its own address; it changes no password once it has expired', async () => {
    const { testApp, clock, mailbox, read, ask, attack, reset, logLines, john } = await startAttacked();
    await attack(0);
    clock.now += 61 * MINUTE_MS;
    const { token } = mailbox.at(-1)!;
    expect(await reset(token, 'a new passphrase')).toBe(400);
    const answer = await ask({ token });
    expect([answer.statusCode, Object.keys(answer.json<object>())]).toEqual([200, ['msg']]);
    expect(await read()).toBe(1);
    const line = logLines.map((each) => JSON.parse(each) as Record<string, unknown>)
      .findLast(({ event }) => event === 'password_reset_requested');
    expect(line).toMatchObject({ user_id: john.userId, mailed: true, by_link: true });
    expect(logLines.join('')).not.toContain(token);
    expect(await reset(token, 'a new passphrase')).toBe(400);
    expect(await reset(mailbox.at(-1)!.token, 'a new passphrase')).toBe(200);
    expect(problemOf(await signIn(testApp, PASSWORD))).toBe('401 invalid_credentials');
  });

  test('is counted with the known devices: no more than three mails at once, and strangers keep theirs', async () => {
    const { mailbox, read, ask, attack } = await startAttacked();
    await attack(0);
    const { token } = mailbox.at(-1)!;
    for (let times = 0; times < 10; times += 1) expect((await ask({ token })).statusCode).toBe(200);
    expect(await read()).toBe(3);
  });

  test('is of no use a week after it has expired, after it was used, and with any other token', async () => {
    const { testApp, app, clock, mailbox, ask, attack, reset } = await startAttacked();
    await attack(0);
    const { token } = mailbox.at(-1)!;
    const [unused] = mailbox;
    await reset(token, 'a new passphrase');
    await testApp.mails();
    for (const other of [token, 'x'.repeat(43), 'x']) expect(problemOf(await ask({ token: other }))).toBe('400 link_invalid');
    expect((await ask({ token: unused!.token })).statusCode, 'not used, only ended').toBe(200);
    expect(await testApp.mails()).toHaveLength(1);
    expect((await ask({ token: unused!.token, email: JOHN })).statusCode).toBe(422);
    clock.now += 7 * DAY_MS + 60 * MINUTE_MS;
    expect(await app.store.oneTimeTokens.purge(clock.now - 7 * DAY_MS)).toBeGreaterThan(0);
    expect(problemOf(await ask({ token: unused!.token }))).toBe('400 link_invalid');
    expect(await testApp.mails()).toEqual([]);
  });

  test('of a former address has no mail sent, neither there nor to the present one', async () => {
    const { testApp, john, mailbox, ask, attack } = await startAttacked();
    await attack(0);
    await testApp.request({
      method: 'PATCH', url: '/users/me', headers: bearer(john.accessToken), payload: { email: 'next@example.com', password: PASSWORD },
    });
    const change = (await testApp.mails()).find(({ to }) => to === 'next@example.com');
    await testApp.post('/auth/verify-email', { token: change!.token });
    await testApp.mails();
    expect(problemOf(await ask({ token: mailbox.at(-1)!.token }))).toBe('400 link_invalid');
    expect(await testApp.mails()).toEqual([]);
  });
});
