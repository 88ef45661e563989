import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../support/app.ts';
import { startServer, tokensIn } from '../support/server.ts';
import { spellings } from '../support/spellings.ts';

const SECRET_KEY = 'Zm9yLXRlc3RzLW9ubHktcm90YXRlLW1lLW9mdGVuLTEyMzQ1Njc4OTA';

test('no password, token or secret is in the database, its WAL or the log', async () => {
  const folder = temporaryFolder();
  const server = await startServer({ DATA_DIR: folder, SECRET_KEY, LOG_LEVEL: 'trace' });
  const passwords = ['first Passphrase of john', 'second Passphrase of john', 'mistyped Passphrase of john'];
  const [first, second, mistyped] = passwords as [string, string, string];
  const tokens = [await tokensIn(await server.post('/auth/register', { username: 'john', password: first }))];
  const login = (password: string) => server.post('/auth/login', { username: 'john', password });
  await login(mistyped);
  tokens.push(await tokensIn(await login(first)));
  for (let time = 0; time < 3; time += 1) tokens.push(await tokensIn(await server.post('/auth/refresh', { refresh_token: tokens.at(-1)!.refresh_token })));
  await server.post(`/auth/refresh?refresh_token=${tokens[0]!.refresh_token}`, { refresh_token: `${tokens[0]!.refresh_token}x`, password: first });
  await server.get(`/users/me?access_token=${tokens[0]!.access_token}`, tokens[0]!.access_token);
  await server.get(`/nowhere/${tokens[0]!.access_token}`);
  await server.post('/auth/change-password', { old_password: mistyped, new_password: second }, { authorization: `Bearer ${tokens[0]!.access_token}` });
  await server.post('/auth/change-password', { old_password: first, new_password: second }, { authorization: `Bearer ${tokens[0]!.access_token}` });
  await server.post('/auth/refresh', undefined, { cookie: `refresh_token=${tokens[1]!.refresh_token}` });
  await server.post('/auth/logout', { refresh_token: tokens[0]!.refresh_token });

  const haystacks = new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]));
  expect([...haystacks.keys()]).toEqual(expect.arrayContaining(['keyturn.db', 'keyturn.db-wal']));
  haystacks.set('log', Buffer.from(server.output()));
  expect(haystacks.get('keyturn.db-wal')!.includes('john')).toBe(true);
  expect(haystacks.get('log')!.includes('signed_in')).toBe(true);

  const accessSignatures = tokens.map(({ access_token }) => access_token.split('.')[2]!);
  const refreshSecrets = tokens.map(({ refresh_token }) => refresh_token.split('.')[3]!);
  for (const secret of [...passwords, SECRET_KEY, ...accessSignatures, ...refreshSecrets]) {
    for (const spelling of spellings(secret)) {
      for (const [name, bytes] of haystacks) expect(bytes.includes(spelling), `${name} holds ${secret}`).toBe(false);
    }
  }
});
