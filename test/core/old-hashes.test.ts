import argon2 from 'argon2';
import { expect, test } from 'vitest';
import { findHashFault, fitsStoredHash } from '../../src/core/stored-hashes.ts';
import { VECTORS } from '../support/vectors.ts';

const BCRYPT = 'FWjhUS0qhc4n0O8z4nVLS.fEPfWWQDdmJ5KpUILMhfkk/O9SsFMFq';
const HEX = '0'.repeat(128);
const BASE64 = `${'A'.repeat(86)}==`;

test.each([
  [`$2b$15$${BCRYPT}`, null],
  [`$2b$16$${BCRYPT}`, 'costs too much: 16 bcrypt cost, at most 15'],
  [`bcrypt$$2b$31$${BCRYPT}`, 'costs too much: 31 bcrypt cost, at most 15'],
  [`bcrypt_sha256$$2b$20$${BCRYPT}`, 'costs too much: 20 bcrypt cost, at most 15'],
  [`$bcrypt-sha256$v=2,t=2b,r=16$${BCRYPT.slice(0, 22)}$${BCRYPT.slice(22)}`, 'costs too much: 16 bcrypt cost, at most 15'],
  [`pbkdf2:sha256:5000000$salt$${HEX.slice(64)}`, null],
  [`pbkdf2:sha256:5000001$salt$${HEX.slice(64)}`, 'costs too much: 5000001 PBKDF2 iterations, at most 5000000'],
  [`pbkdf2_sha256$9999999999$salt$${'A'.repeat(43)}=`, 'costs too much: 9999999999 PBKDF2 iterations, at most 5000000'],
  [`scrypt:262144:8:4$salt$${HEX}`, null],
  [`scrypt:262144:9:1$salt$${HEX}`, 'costs too much: 288 MiB of scrypt, at most 256'],
  [`scrypt:262144:8:5$salt$${HEX}`, 'costs too much: 1280 MiB of work of scrypt, at most 1024'],
  [`scrypt$524288$salt$8$1$${BASE64}`, 'costs too much: 512 MiB of scrypt, at most 256'],
  [`$scrypt$ln=31,r=8,p=1$c2FsdA$${'A'.repeat(43)}`, 'costs too much: 2097152 MiB of scrypt, at most 256'],
  [`$fbscrypt$v=1,n=22,r=8,p=1,ss=Bw==,sk=${BASE64}$c2FsdA==$${BASE64}`, 'costs too much: 4096 MiB of scrypt, at most 256'],
  ['$argon2id$v=19$m=262144,t=10,p=16$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA', null],
  ['$argon2id$v=19$m=262145,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA', 'costs too much: 257 MiB of argon2, at most 256'],
  ['argon2$argon2i$v=19$m=64,t=11,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA', 'costs too much: 11 passes of argon2, at most 10'],
  ['$argon2d$m=1024,t=1,p=17$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA', 'costs too much: 17 lanes of argon2, at most 16'],
])('%s: %s', async (hash, fault) => {
  expect(findHashFault(hash)).toBe(fault);
  if (fault && !hash.startsWith('$argon2id$')) expect(await fitsStoredHash('x', hash)).toBe(false);
});

test.each([
  ['nothing', ''],
  ['plain text', 'correct horse battery'],
  ['an unusable password of Django', '!bGZsVFVyQ0ZJ'],
  ['a fast hash', 'sha1$salt$da39a3ee5e6b4b0d3255bfef95601890afd80709'],
  ['md5-crypt', '$1$salt$qJH7.N4xYta3aEG/dfqo/0'],
  ['bcrypt of another kind', `$2x$05$${BCRYPT}`],
  ['bcrypt of cost 3', `$2b$03$${BCRYPT}`],
  ['bcrypt of cost 32', `$2b$32$${BCRYPT}`],
  ['bcrypt with a character that is not in its base64', `$2b$05$_${BCRYPT.slice(1)}`],
  ['bcrypt with a line after it', `$2b$05$${BCRYPT}\n`],
  ['PBKDF2 of no iterations', `pbkdf2:sha256:0$salt$${HEX.slice(64)}`],
  ['PBKDF2 with a digest of another length', `pbkdf2:sha256:1000$salt$${HEX.slice(88)}`],
  ['PBKDF2 with MD5', `pbkdf2:md5:1000$salt$${HEX.slice(96)}`],
  ['PBKDF2 with nothing to compare with', 'pbkdf2_sha256$1000$salt$'],
  ['scrypt whose n is no power of two', `scrypt:1000:8:1$salt$${HEX}`],
  ['scrypt with an n of one', `scrypt:1:8:1$salt$${HEX}`],
  ['scrypt whose n is too great for its r', `scrypt:65536:1:1$salt$${HEX}`],
  ['scrypt without lanes', `scrypt:1024:8:0$salt$${HEX}`],
  ['Firebase without a key', `$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==$c2FsdA==$${BASE64}`],
  ['argon2 with too little memory for its lanes', '$argon2id$v=19$m=8,t=1,p=2$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA'],
  ['argon2 without passes', '$argon2id$v=19$m=8,t=0,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA'],
  ['argon2 with a short digest', '$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAA'],
  ['a very long one', `pbkdf2:sha256:1000$${'s'.repeat(1000)}$${HEX.slice(64)}`],
])('%s is no hash that can be taken over', async (_name, hash) => {
  expect(findHashFault(hash)).toBe('is no password hash of a known format');
  expect(await fitsStoredHash('correct horse battery', hash)).toBe(false);
});

test('a hash that was cut or changed never throws and fits nothing', async () => {
  const cheap = VECTORS.filter(({ hash }) => /\$05\$|r=5|:1000\$|\$1000\$|m=(1024|4096)|ln=10|:1024:/.test(hash));
  expect(cheap.length).toBeGreaterThan(40);
  for (const { password, hash } of cheap) {
    const half = Math.floor(hash.length / 2);
    for (const broken of [hash.slice(0, -1), hash.slice(1), hash.slice(0, half), `${hash}$`, hash.replaceAll('$', '$$$$'), hash.replaceAll(/\d/g, '')]) {
      expect([broken, await fitsStoredHash(password, broken)]).toEqual([broken, false]);
    }
  }
});

test.each([argon2.argon2d, argon2.argon2i, argon2.argon2id] as const)('argon2 of kind %i as the npm package writes it', async (type) => {
  const hash = await argon2.hash('correct horse', { type, memoryCost: 64, timeCost: 3, parallelism: 2, hashLength: 64 });
  expect([findHashFault(hash), await fitsStoredHash('correct horse', hash), await fitsStoredHash('correct horse!', hash)]).toEqual([null, true, false]);
});

test('argon2 of before there was a version in it', async () => {
  const old = VECTORS.filter(({ hash }) => hash.includes('$v=16$'));
  expect(old).toHaveLength(6);
  for (const { password, hash } of old) expect([hash, await fitsStoredHash(password, hash.replace('v=16$', ''))]).toEqual([hash, true]);
});

test('Firebase: the salt may have no separator, and base64 be of the kind for addresses', async () => {
  const { hash, password } = VECTORS.find(({ library }) => library.startsWith('github.com/firebase'))!;
  expect(await fitsStoredHash(password, hash.replaceAll('+', '-').replaceAll('/', '_'))).toBe(true);
  expect(await fitsStoredHash(password, hash.replace('ss=Bw==,', ''))).toBe(false);
  expect(findHashFault(hash.replace('ss=Bw==,', ''))).toBe(null);
});

test('argon2id whose base64 has spare bits, which the library may refuse', async () => {
  const hash = await argon2.hash('correct horse', { memoryCost: 64, timeCost: 1, parallelism: 1 });
  const [, start = '', last = '', end = ''] = /^(.*\$[\w+/]+)([AQgw])(\$[\w+/]+)$/.exec(hash)!;
  const spare = `${start}${String.fromCharCode(last.charCodeAt(0) + 1)}${end}`;
  expect([await fitsStoredHash('correct horse', spare), await fitsStoredHash('correct horse!', spare)]).toEqual([true, false]);
});
