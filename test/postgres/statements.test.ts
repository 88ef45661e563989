import { expect, onTestFinished, test } from 'vitest';
import { bearer, PASSWORD, startApp, tokensOf } from '../support/app.ts';
import { query, startCluster } from '../support/postgres.ts';

test('the server sees one statement for me and for a refresh, a transaction of two for a sign-in: each is a round trip', async () => {
  const cluster = await startCluster();
  onTestFinished(() => cluster.stop());
  await query(cluster.url('postgres'), 'CREATE DATABASE counted');
  await query(cluster.url('postgres'), "ALTER DATABASE counted SET log_statement = 'all'");
  const { post, request } = await startApp({
    DATABASE_URL: cluster.url('counted'), SECRET_KEY: 'YSBrZXkgdG8gY291bnQgc3RhdGVtZW50cyB3aXRoIG9ubHk', RATE_LIMIT_ENABLED: 'true',
  });
  const john = { email: 'john@example.com', password: PASSWORD };
  const { accessToken, refreshToken } = tokensOf(await post('/auth/register', john));

  const statementsOf = async (work: () => Promise<{ statusCode: number }>): Promise<string[]> => {
    const { length } = cluster.log();
    expect((await work()).statusCode).toBe(200);
    const lines = cluster.log().slice(length).split('\n').filter((line) => /LOG: {2}(execute|statement)/.test(line));
    return lines.map((line) => /: {1,2}(?:execute <unnamed>|statement): (\w+)/.exec(line)?.[1] ?? line).filter((_text, at) => !lines[at]?.includes('"mails"'));
  };

  expect(await statementsOf(() => request({ method: 'GET', url: '/users/me', headers: bearer(accessToken) }))).toEqual(['select']);
  expect(await statementsOf(() => post('/auth/refresh', { refresh_token: refreshToken }))).toEqual(['update']);
  expect(await statementsOf(() => post('/auth/login', john))).toEqual(['select', 'BEGIN', 'update', 'insert', 'COMMIT']);
});
