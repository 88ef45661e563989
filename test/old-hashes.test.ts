import argon2 from 'argon2';
import bcrypt from 'bcrypt';
import { expect, test } from 'vitest';
import { wrapHash } from '../src/core/stored-hashes.ts';
import { problemOf } from './support/app.ts';
import { proveHashes, startWithHashes } from './support/old-hashes.ts';
import { VECTORS } from './support/vectors.ts';

test('a hash of each system signs in, with the right password only, and is argon2id afterwards', async () => {
  expect(new Set(VECTORS.map(({ library }) => library.split(' ')[0]))).toEqual(new Set(['Django', 'Werkzeug', 'passlib', 'bcrypt', 'argon2-cffi', 'github.com/firebase/scrypt,', 'github.com/supabase/auth,']));
  expect(VECTORS.length).toBeGreaterThan(70);
  await proveHashes(VECTORS);
});

test('old systems hashed a password as it was typed, or composed: both sign in, and afterwards either keyboard does', async () => {
  const decomposed = 'Zoë’s pässwörd'.normalize('NFD');
  const composed = decomposed.normalize('NFC');
  const { signIn } = await startWithHashes([await bcrypt.hash(composed, 4), await bcrypt.hash(decomposed, 4), await argon2.hash(decomposed, { memoryCost: 8, timeCost: 1, parallelism: 1 })]);
  expect(await signIn(0, decomposed)).toBe(200);
  expect(await signIn(1, composed)).toBe(401);
  expect(await signIn(1, decomposed)).toBe(200);
  expect(await signIn(2, decomposed)).toBe(200);
  expect([await signIn(0, composed), await signIn(1, composed)]).toEqual([200, 200]);
});

test('bcrypt looks at 72 bytes, as it did; once the password is argon2id, all of it counts', async () => {
  const start = 'a long passphrase '.repeat(4);
  const { signIn } = await startWithHashes([await bcrypt.hash(`${start}and its end`, 4), await bcrypt.hash('before', 4)]);
  expect(await signIn(0, `${start.slice(0, 71)}!and its end`)).toBe(401);
  expect(await signIn(0, `${start}and its end`)).toBe(200);
  expect(await signIn(0, `${start}and no end`)).toBe(401);
  expect(await signIn(1, 'before\0')).toBe(401);
  expect(await signIn(1, 'before\0before')).toBe(401);
  expect(await signIn(1, 'before')).toBe(200);
});

test('a hash that costs too much, or none, is a no, the same as any, and at once', async () => {
  const { app, post, signIn } = await startWithHashes([await bcrypt.hash('correct horse', 4)]);
  const replace = async (newHash: string) => {
    const [user] = await app.store.users.findByIdentifier(null, 'user0');
    await app.store.transact([app.store.users.replacePasswordHash({ id: user!.id, oldHash: user!.passwordHash, newHash, changedAt: 0 })]);
  };
  for (const hash of ['$2b$31$FWjhUS0qhc4n0O8z4nVLS.fEPfWWQDdmJ5KpUILMhfkk/O9SsFMFq', 'pbkdf2:sha256:999999999$salt$' + '0'.repeat(64), '!', '']) {
    await replace(hash);
    // to compute it would take minutes, and the test would time out
    expect(problemOf(await post('/auth/login', { username: 'user0', password: 'correct horse' }))).toBe('401 invalid_credentials');
  }
  expect(await signIn(0, 'correct horse')).toBe(401);
});

test('a hash that another Keyturn has wrapped is taken over as it is', async () => {
  const wrapped = await wrapHash(await bcrypt.hash('correct horse', 4), { memoryCost: 16, timeCost: 1, parallelism: 1 });
  const { signIn, hashOf } = await startWithHashes([wrapped]);
  expect(await hashOf(0)).toBe(wrapped);
  expect([await signIn(0, 'wrong'), await signIn(0, 'correct horse')]).toEqual([401, 200]);
  expect(await hashOf(0)).toMatch(/^\$argon2id\$/);
});

test('a wrapped hash is worth nothing without its argon2id: the old digest alone fits no password', async () => {
  const hash = await bcrypt.hash('correct horse', 4);
  const wrapped = await wrapHash(hash, { memoryCost: 8, timeCost: 1, parallelism: 1 });
  const { app, signIn } = await startWithHashes([hash]);
  const [user] = await app.store.users.findByIdentifier(null, 'user0');
  const inner = wrapped.slice('$keyturn-wrap$'.length, wrapped.lastIndexOf('$argon2id$'));
  expect(inner).toBe(`${hash.slice(0, 29)}${'A'.repeat(31)}`);
  for (const newHash of [inner, `$keyturn-wrap$${inner}`, `$keyturn-wrap$${hash}`, wrapped.slice(0, -1), wrapped.replace(inner, ''), `$keyturn-wrap$${wrapped}`]) {
    const { passwordHash: oldHash } = (await app.store.users.find(user!.id))!;
    await app.store.transact([app.store.users.replacePasswordHash({ id: user!.id, oldHash, newHash, changedAt: 0 })]);
    expect([newHash, await signIn(0, 'correct horse')]).toEqual([newHash, 401]);
  }
});
