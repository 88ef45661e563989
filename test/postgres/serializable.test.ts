import { expect, test } from 'vitest';
import { bearer, PASSWORD, startApp, tokensOf } from '../support/app.ts';
import { query } from '../support/postgres.ts';

test('where every transaction is serializable, as in CockroachDB, what the database undoes is tried again: racers still all win', async () => {
  const first = await startApp();
  const { database } = first.app.config;
  if (database.dialect !== 'postgres') throw new Error('this test is for PostgreSQL');
  const name = new URL(database.url).pathname.slice(1);
  await query(database.url, `ALTER DATABASE ${name} SET default_transaction_isolation = 'serializable'`);
  const { post, register, login, refresh } = await startApp({ DATA_DIR: first.folder });
  const { accessToken } = await register();
  let { refreshToken } = await login();
  for (let round = 0; round < 20; round += 1) {
    const answers = await Promise.all(Array.from({ length: 20 }, () => refresh(refreshToken)));
    const children = new Set(answers.map((answer) => tokensOf(answer).refreshToken));
    expect(children.size).toBe(1);
    [refreshToken] = children as unknown as [string];
  }
  const changes = await Promise.all(Array.from({ length: 5 }, (_, index) =>
    post('/auth/change-password', { old_password: PASSWORD, new_password: `another passphrase ${index}` }, bearer(accessToken))));
  expect(changes.map(({ statusCode }) => statusCode).sort()).toEqual([200, 401, 401, 401, 401]);
});
