import { basename } from 'node:path';
import { expect, inject, test } from 'vitest';
import { PASSWORD, startApp, temporaryFolder } from '../support/app.ts';
import { query } from '../support/postgres.ts';

/** In Turkish the lower case of I is ı, and PostgreSQL's lower() follows the locale of its database. */
test('a username has one key in whatever language the database sorts: of ADMIN and admin one gets it', async () => {
  const name = `${basename(temporaryFolder()).toLowerCase().replaceAll('-', '_')}_tr`;
  const server = inject('postgres')!;
  await query(`${server}/postgres`, `CREATE DATABASE ${name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'tr'`);
  expect((await query(`${server}/${name}`, "SELECT lower('ADMIN') = 'admın' AS turkish")).rows).toEqual([{ turkish: true }]);
  const { post, mails, app } = await startApp({ REQUIRE_EMAIL_VERIFICATION: 'true', DATABASE_URL: `${server}/${name}` });
  const ask = async (username: string, email: string) => {
    expect((await post('/auth/register', { username, email, password: PASSWORD })).statusCode).toBe(202);
    return (await mails())[0]!.token;
  };
  const [first, second] = [await ask('ADMIN', 'first@example.com'), await ask('admin', 'second@example.com')];
  for (const token of [second, first]) expect((await post('/auth/verify-email', { token, password: PASSWORD })).statusCode).toBe(200);
  const users = await Promise.all(['first@example.com', 'second@example.com'].map((email) => app.store.users.findByIdentifier(email, null)));
  expect(users.map(([user]) => [user?.username, user?.usernameKey])).toEqual([[null, null], ['admin', 'admin']]);

  const third = await ask('IRIS', 'third@example.com');
  expect((await post('/auth/verify-email', { token: third, password: PASSWORD })).statusCode).toBe(200);
  for (const username of ['IRIS', 'iris', 'Iris']) expect([username, (await post('/auth/login', { username, password: PASSWORD })).statusCode]).toEqual([username, 200]);
});
