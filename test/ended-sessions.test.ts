import { expect, test } from 'vitest';
import { parseRefreshToken } from '../src/core/refresh-tokens.ts';
import { bearer, PASSWORD, startApp, type TestApp, tokensOf } from './support/app.ts';

const NEW = 'another long passphrase';

type Start = { testApp: TestApp; accessToken: string; refreshToken: string };

/** Lets the token be superseded for so long that nothing excuses it. */
async function supersede({ testApp, refreshToken }: Start) {
  const next = tokensOf(await testApp.refresh(refreshToken)).refreshToken;
  testApp.clock.now += 60_000;
  await testApp.refresh(next);
  testApp.clock.now += 60_000;
}

async function resetPassword({ testApp }: Start) {
  await testApp.mails();
  await testApp.post('/auth/forgot-password', { email: 'john@example.com' });
  const [mail] = await testApp.mails();
  return testApp.post('/auth/change-password', { token: mail!.token, new_password: NEW });
}

test.each<[reason: string, end: string, (start: Start) => Promise<unknown>]>([
  ['logout', 'a sign-out', ({ testApp, refreshToken }) => testApp.post('/auth/logout', { refresh_token: refreshToken })],
  ['logout', 'a sign-out of all', ({ testApp, accessToken }) =>
    testApp.post('/auth/logout?scope=all', undefined, bearer(accessToken))],
  ['logout', 'a sign-out of the others', async ({ testApp }) =>
    testApp.post('/auth/logout?scope=others', undefined, bearer((await testApp.login()).accessToken))],
  ['ended_by_user', 'the user in the list', ({ testApp, accessToken, refreshToken }) => testApp.request({
    method: 'DELETE', url: `/auth/sessions/${parseRefreshToken(refreshToken)!.sessionId}`, headers: bearer(accessToken),
  })],
  ['password_changed', 'a change of the password', async ({ testApp }) => testApp.post('/auth/change-password',
    { old_password: PASSWORD, new_password: NEW }, bearer((await testApp.login()).accessToken))],
  ['password_reset', 'a reset of the password', resetPassword],
  ['refresh_token_reused', 'a reused token at the refresh', async (start) => {
    await supersede(start);
    await start.testApp.refresh(start.refreshToken);
  }],
  ['refresh_token_reused', 'a reused token at the sign-out', async (start) => {
    await supersede(start);
    await start.testApp.post('/auth/logout', { refresh_token: start.refreshToken });
  }],
])('the row of a session keeps the reason %s after %s', async (revokedReason, _end, end) => {
  const testApp = await startApp();
  const john = await testApp.register();
  await end({ testApp, ...john });
  const { session } = (await testApp.app.store.sessions.find(parseRefreshToken(john.refreshToken)!.sessionId))!;
  expect(session).toMatchObject({ revokedReason, revokedAt: testApp.clock.now });
});
