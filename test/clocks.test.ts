import { expect, test } from 'vitest';
import { DAY_MS, PASSWORD, startApp } from './support/app.ts';

const JOHN = 'john@example.com';
const HOUR_MS = 3_600_000;
const LOGIN = { email: JOHN, password: 'a wrong guess' };

test('a clock a month ahead deletes no session that lives: set right, all refresh but the one that was refused meanwhile', async () => {
  const first = await startApp();
  const { refreshToken } = await first.register();
  const refused = await first.login();
  await first.app.close();
  const ahead = await startApp({ DATA_DIR: first.folder });
  ahead.clock.now += 31 * DAY_MS;
  await ahead.app.purge();
  expect((await ahead.refresh(refused.refreshToken)).statusCode).toBe(401);
  await ahead.app.close();
  const right = await startApp({ DATA_DIR: first.folder });
  expect((await right.refresh(refreshToken)).statusCode).toBe(200);
  expect((await right.refresh(refused.refreshToken)).statusCode).toBe(401); // a clock set back excuses nothing
});

test('what has expired by a time that a later sign-in proves is deleted, however much it is', async () => {
  const first = await startApp({ SESSIONS_PER_USER: '1000' });
  const { accessToken, userId } = await first.register();
  const { app, clock, folder } = first;
  const steps = Array.from({ length: 600 }, (_, index) => app.store.sessions.insert({
    id: `old ${index}`, userId, tokenHash: '', keyId: '', userAgent: null, ip: '', now: clock.now, idleExpiresAt: clock.now + 1, expiresAt: clock.now + 1, limit: 10_000,
  }));
  expect(await app.store.transact(steps)).not.toBeNull();
  clock.now += HOUR_MS;
  const { refreshToken } = await first.login();
  await app.close();
  const next = await startApp({ DATA_DIR: folder });
  next.clock.now = clock.now + 1;
  await next.app.purge();
  expect((await next.get('/users/me', accessToken)).statusCode).toBe(401); // its token has expired, not its session
  expect(await next.app.store.sessions.purge(clock.now)).toBe(0);
  expect((await next.refresh(refreshToken)).statusCode).toBe(200);
});

test.each([
  ['the fifth wrong password', 7],
  ['the last wrong password that is looked at', 40],
])('%s, while the clock was two days ahead, leaves no pause longer than the longest when it is set right', async (_name, guesses) => {
  const { clock, post } = await startApp({ RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1000000' });
  await post('/auth/register', { email: JOHN, password: PASSWORD });
  const right = clock.now;
  clock.now += 2 * DAY_MS;
  for (let guess = 0; guess < guesses; guess += 1) {
    expect((await post('/auth/login', LOGIN)).statusCode).toBe(401);
    clock.now += HOUR_MS + 1;
  }
  expect((await post('/auth/login', LOGIN)).statusCode).toBe(guesses === 40 ? 429 : 401);
  clock.now = right;
  expect((await post('/auth/login', { email: JOHN, password: PASSWORD })).statusCode).toBe(200);
});

test('a pause that is no longer than the longest holds, though another clock wrote it', async () => {
  const { clock, post } = await startApp({ RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1000000' });
  await post('/auth/register', { email: JOHN, password: PASSWORD });
  for (let guess = 0; guess < 20; guess += 1) {
    expect((await post('/auth/login', LOGIN)).statusCode).toBe(401);
    clock.now += HOUR_MS + 1;
  }
  expect((await post('/auth/login', LOGIN)).statusCode).toBe(401); // an hour's pause begins
  clock.now -= 30_000;
  expect((await post('/auth/login', { email: JOHN, password: PASSWORD })).statusCode).toBe(429);
});

test('a mail that was written while the clock was two hours ahead is sent when it is set right', async () => {
  const { clock, app, post, mails } = await startApp();
  clock.now += 2 * HOUR_MS;
  await post('/auth/register', { email: JOHN, password: PASSWORD });
  clock.now -= 2 * HOUR_MS;
  expect(await app.store.mails.areDue(clock.now)).toBe(true);
  expect((await mails()).map(({ to }) => to)).toEqual([JOHN]);
  expect(await app.store.mails.areDue(clock.now)).toBe(false);
});
