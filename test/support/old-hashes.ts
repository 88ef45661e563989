import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import argon2 from 'argon2';
import { expect } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { openStore } from '../../src/store/store.ts';
import { databaseFor, startApp, temporaryFolder, TEST_ENVIRONMENT } from './app.ts';
import { cliHere } from './cli.ts';
import type { Vector } from './vectors.ts';

/** The app on a database into which `keyturn users import` has put a user for each hash: user0, user1 … */
export async function startWithHashes(hashes: string[]) {
  const folder = temporaryFolder();
  const file = join(folder, 'users.jsonl');
  writeFileSync(file, hashes.map((password_hash, index) => JSON.stringify({ username: `user${index}`, password_hash })).join('\n'));
  const env = { DATA_DIR: folder, ...(await databaseFor(folder)) };
  await (await openStore(loadConfig({ ...TEST_ENVIRONMENT, ...env }).database)).close(); // as the first start of the server does
  const imported = await cliHere(['users', 'import', file, '--json'], env);
  expect(JSON.parse(imported.stdout)).toMatchObject({ ok: true, imported: hashes.length });
  const { app, post } = await startApp({ DATA_DIR: folder, PASSWORD_QUEUE_LIMIT: '1000' });
  return {
    signIn: async (index: number, password: string) => (await post('/auth/login', { username: `user${index}`, password })).statusCode,
    hashOf: async (index: number) => (await app.store.users.findByIdentifier(null, `user${index}`))[0]?.passwordHash ?? '',
    app, post,
  };
}

/** argon2 is stored as it is; of any other hash all but its digest, inside argon2id. */
function expectStored(stored: string, hash: string) {
  const isArgon2 = /^(argon2)?\$argon2/.test(hash);
  if (isArgon2) expect(stored).toBe(hash);
  else expect(stored).toMatch(/^\$keyturn-wrap\$.+\$argon2id\$v=19\$m=8,(p=1,t=1|t=1,p=1)\$[\w+/]+\$[\w+/]+$/);
  if (!isArgon2) expect(stored).not.toContain(hash.slice(-22, -2));
}

/** Each hash signs in with its password only, and is argon2id afterwards. */
export async function proveHashes(vectors: Vector[]) {
  const { signIn, hashOf } = await startWithHashes(vectors.map(({ hash }) => hash));
  await Promise.all(vectors.map(async ({ library, name, password, hash }, index) => {
    const which = `${library} ${name} ${password}`;
    expect([await signIn(index, `${password.slice(0, 20)}!`), which]).toEqual([401, which]);
    expectStored(await hashOf(index), hash);
    expect([await signIn(index, password), which]).toEqual([200, which]);
    const stored = await hashOf(index);
    expect(stored).toMatch(/^\$argon2id\$v=19\$m=8,(p=1,t=1|t=1,p=1)\$/);
    expect(await argon2.verify(stored, password.normalize('NFC'))).toBe(true);
    expect([await signIn(index, password), which]).toEqual([200, which]);
    expect([await signIn(index, password.normalize('NFC')), which]).toEqual([200, which]);
    expect(await signIn(index, `${password.slice(0, 20)}!`)).toBe(401);
    expect(await hashOf(index)).toBe(stored);
  }));
}
