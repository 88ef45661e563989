import { execFile } from 'node:child_process';
import { createHmac, createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { ConfigError, loadConfig } from '../src/config.ts';
import { cookieOf, problemOf, startApp, temporaryFolder } from './support/app.ts';

const OLD = 'aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA';
const NEW = 'zY1xW8vU7tS6rQ5pO4nM3lK2jI9hG0fE';
const pem = (key: { privateKey: { export(options: { type: 'pkcs8'; format: 'pem' }): string | Buffer } }) => key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const load = (env: Record<string, string>) => loadConfig({ DATA_DIR: temporaryFolder(), ...env });

describe('SECRET_KEY', () => {
  test.each([
    ['of seed 1', 'your-super-secret-key-here', 'must have at least 32 bytes'],
    ['of seed 1, longer', 'your-super-secret-key-minimum-32-characters', 'is a placeholder'],
    ['that asks to be changed', 'please-CHANGE-ME-please-change-me-please', 'is a placeholder'],
    ['that says secret key', 'my_secret_key_for_my_great_application', 'is a placeholder'],
    ['with password in it', 'correct-password-correct-password-1234', 'is a placeholder'],
    ['of an example', 'this-is-an-example-of-a-long-enough-key', 'is a placeholder'],
    ['of one letter', 'a'.repeat(64), 'is a placeholder'],
    ['of one word', 'abcdefgh'.repeat(8), 'is a placeholder'],
    ['of few letters', 'abcabdabeabfaabbccddeeffabcdefabcdef', 'is a placeholder'],
    ['of 31 bytes', OLD.slice(1), 'must have at least 32 bytes'],
    ['whose retired part is short', `${OLD},short`, 'must have at least 32 bytes'],
    ['with an empty part', `${OLD},`, 'must have at least 32 bytes'],
  ])('%s is refused, not shown, and nothing is written', (_name, secret, reason) => {
    const folder = temporaryFolder();
    let message = '';
    try {
      loadConfig({ DATA_DIR: folder, SECRET_KEY: secret });
    } catch (error) {
      ({ message } = error as Error);
    }
    expect(message).toContain(`SECRET_KEY: ${reason}`);
    expect(message).not.toContain(secret.slice(0, 12));
    expect(readdirSync(folder)).toEqual([]);
  });

  test('of 32 bytes is taken, also when they are fewer characters', () => {
    expect(load({ SECRET_KEY: OLD }).secrets.files).toEqual([]);
    expect(load({ SECRET_KEY: 'äöüßÄÖÜéèêàâçñøå' }).secrets.files).toEqual([]);
  });

  test('says nothing of itself in its id or in what is derived from it', () => {
    const { derivedKeys: [{ id, chainKey }], signingKeys: [signing] } = load({ SECRET_KEY: OLD }).secrets;
    expect(id).toMatch(/^[\w-]{12}$/);
    expect(OLD).not.toContain(id);
    expect(chainKey.export()).toHaveLength(32);
    expect(chainKey.export().toString('latin1')).not.toBe(OLD);
    expect(signing.id).toBe(id);
    expect(load({ SECRET_KEY: NEW }).secrets.derivedKeys[0].id).not.toBe(id);
  });
});

describe('a generated key', () => {
  test('is for its owner only, random, and the same after a restart', () => {
    const folder = temporaryFolder();
    const first = loadConfig({ DATA_DIR: folder });
    const path = join(folder, 'secret.key');
    expect(first.secrets.files).toEqual([path]);
    expect(readdirSync(folder)).toEqual(['secret.key']);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, 'utf8').trim().length).toBeGreaterThanOrEqual(64);
    expect(loadConfig({ DATA_DIR: folder }).secrets).toEqual(first.secrets);
    expect(load({}).secrets.derivedKeys[0].id).not.toBe(first.secrets.derivedKeys[0].id);
  });

  test('that was damaged is refused, not replaced: a new one would end every session', () => {
    const folder = temporaryFolder();
    for (const damaged of ['', 'short\n']) {
      writeFileSync(join(folder, 'secret.key'), damaged);
      expect(() => loadConfig({ DATA_DIR: folder })).toThrow(/^SECRET_KEY: must have at least 32 bytes/);
      expect(readFileSync(join(folder, 'secret.key'), 'utf8')).toBe(damaged);
    }
  });

  test('that others may read is told at every start, by its path; one for its owner only is not', async () => {
    const folder = temporaryFolder();
    await startApp({ DATA_DIR: folder, ALGORITHM: 'ES256', SECRET_KEY: '', DATABASE_URL: '' });
    const warned = async (modes: Record<string, number>) => {
      for (const [name, mode] of Object.entries(modes)) chmodSync(join(folder, name), mode);
      const { logLines } = await startApp({ DATA_DIR: folder, ALGORITHM: 'ES256', SECRET_KEY: '', DATABASE_URL: '' });
      expect(logLines.join('')).not.toContain(readFileSync(join(folder, 'secret.key'), 'utf8').trim());
      return logLines.map((line) => JSON.parse(line) as { level: number; event?: string; key?: string })
        .filter(({ event }) => event === 'key_file_exposed').map(({ level, key }) => [level, key]);
    };
    expect(await warned({})).toEqual([]);
    expect(await warned({ 'secret.key': 0o640 })).toEqual([[40, join(folder, 'secret.key')]]);
    expect(await warned({ 'secret.key': 0o604, 'jwt-es256.pem': 0o620 })).toEqual([[40, join(folder, 'secret.key')], [40, join(folder, 'jwt-es256.pem')]]);
    expect(await warned({ 'secret.key': 0o400, 'jwt-es256.pem': 0o600 })).toEqual([]);
    expect(readdirSync(folder).filter((name) => !name.startsWith('keyturn.db')).sort()).toEqual(['jwt-es256.pem', 'secret.key']);
  });

  test('is not written through a link that somebody laid there', () => {
    const folder = temporaryFolder();
    const victim = join(temporaryFolder(), 'victim');
    symlinkSync(victim, join(folder, 'secret.key'));
    expect(() => loadConfig({ DATA_DIR: folder })).toThrow(/cannot be used|secret\.key/);
    expect(existsSync(victim)).toBe(false);
    expect(readdirSync(folder)).toEqual(['secret.key']);
  });

  test('is one, when several processes start at once on an empty folder', async () => {
    const folder = temporaryFolder();
    chmodSync(folder, 0o755);
    const script = `import { loadConfig } from './src/config.ts';
      while (Date.now() < ${Date.now() + 1500});
      for (const ALGORITHM of ['HS256', 'ES256']) console.log(loadConfig({ DATA_DIR: ${JSON.stringify(folder)}, ALGORITHM }).secrets.signingKeys[0].id);`;
    const outputs = await Promise.all(Array.from({ length: 4 }, () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { env: { PATH: process.env.PATH } })));
    expect(new Set(outputs.map(({ stdout }) => stdout)).size).toBe(1);
    expect(outputs[0]!.stdout).toMatch(/^[\w-]{12}\n[\w-]{12}\n$/);
    expect(readdirSync(folder).sort()).toEqual(['jwt-es256.pem', 'secret.key']);
    for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
  });
});

describe('rotating SECRET_KEY', () => {
  const restart = (folder: string, secrets: string) => startApp({ DATA_DIR: folder, SECRET_KEY: secrets });

  test('signs nobody out while the old key is in the list, whichever it is that a session began with', async () => {
    const folder = temporaryFolder();
    const before = await restart(folder, OLD);
    const tokens = await before.register();
    await before.app.close();
    const during = await restart(folder, `${NEW}, ${OLD}`);
    expect((await during.get('/users/me', tokens.accessToken)).statusCode).toBe(200);
    const refreshed = await during.refresh(tokens.refreshToken);
    expect(refreshed.statusCode).toBe(200);
    expect((await during.refresh(tokens.refreshToken)).json()).toMatchObject({ refresh_token: cookieOf(refreshed)!.value });
    const keyIdOf = (token: string) => (JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()) as { kid: string }).kid;
    const newer = refreshed.json<{ access_token: string }>().access_token;
    expect(keyIdOf(newer)).not.toBe(keyIdOf(tokens.accessToken));
    expect((await during.get('/users/me', newer)).statusCode).toBe(200);
    expect(keyIdOf((await during.login()).accessToken)).toBe(keyIdOf(newer));
  });

  test.each(['HS256', 'ES256'])('ends with the removal of the old key: its access and refresh tokens are refused, the newer sessions live (%s)', async (ALGORITHM) => {
    const folder = temporaryFolder();
    const restart = (SECRET_KEY: string) => startApp({ DATA_DIR: folder, SECRET_KEY, ALGORITHM });
    const before = await restart(OLD);
    const tokens = await before.register();
    await before.app.close();
    const during = await restart(`${NEW},${OLD}`);
    const newer = await during.login();
    await during.app.close();
    const after = await restart(NEW);
    expect(problemOf(await after.get('/users/me', tokens.accessToken))).toBe('401 access_token_invalid');
    const refused = await after.post('/auth/refresh', undefined, { cookie: `refresh_token=${tokens.refreshToken}` });
    expect([problemOf(refused), cookieOf(refused)]).toEqual(['401 refresh_token_invalid', undefined]);
    expect((await after.get('/users/me', newer.accessToken)).statusCode).toBe(200);
    expect((await after.refresh(newer.refreshToken)).statusCode).toBe(200);
  });

  test('past the grace a token of an old key still proves theft', async () => {
    const folder = temporaryFolder();
    const before = await restart(folder, OLD);
    const { refreshToken } = await before.register();
    await before.refresh(refreshToken);
    await before.app.close();
    const during = await restart(folder, `${NEW},${OLD}`);
    during.clock.now += 31_000;
    expect(problemOf(await during.refresh(refreshToken))).toBe('401 refresh_token_reused');
  });
});

describe.each(['ES256', 'EdDSA', 'RS256'])('ALGORITHM=%s', (ALGORITHM) => {
  test('signs with a generated key that others verify by the public keys, which are public and no more', async () => {
    const { register, get, folder } = await startApp({ ALGORITHM });
    const { accessToken } = await register();
    expect((await get('/users/me', accessToken)).statusCode).toBe(200);
    const [header = '', payload = '', signature = ''] = accessToken.split('.');
    const { alg, kid } = JSON.parse(Buffer.from(header, 'base64url').toString()) as { alg: string; kid: string };
    const answer = await get('/.well-known/jwks.json');
    const { keys } = answer.json<{ keys: Record<string, string>[] }>();
    const members = { ES256: ['crv', 'x', 'y'], EdDSA: ['crv', 'x'], RS256: ['e', 'n'] }[ALGORITHM]!;
    expect(keys.map((key) => Object.keys(key).sort())).toEqual([[...members, 'alg', 'kid', 'kty', 'use'].sort()]);
    expect(keys[0]).toMatchObject({ alg, kid, use: 'sig' });
    expect([alg, answer.headers['cache-control']]).toEqual([ALGORITHM, 'public, max-age=300']);
    const key = createPublicKey({ key: keys[0]!, format: 'jwk' });
    const data = Buffer.from(`${header}.${payload}`);
    expect(verify(ALGORITHM === 'EdDSA' ? null : 'sha256', data, { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url'))).toBe(true);

    const path = join(folder, `jwt-${ALGORITHM.toLowerCase()}.pem`);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const given = await startApp({ ALGORITHM, DATA_DIR: folder, JWT_PRIVATE_KEY: readFileSync(path, 'utf8') });
    expect((await given.get('/users/me', accessToken)).statusCode).toBe(200);
    const publicPem = key.export({ type: 'spki', format: 'pem' }).toString();
    for (const secret of [publicPem, publicPem.trim(), ` ${publicPem}`, JSON.stringify(keys[0])]) {
      for (const forgedHeader of [header, Buffer.from(JSON.stringify({ alg: 'HS256', typ: 'at+jwt', kid })).toString('base64url')]) {
        const forged = `${forgedHeader}.${payload}.${createHmac('sha256', secret).update(`${forgedHeader}.${payload}`).digest('base64url')}`;
        expect(problemOf(await get('/users/me', forged))).toBe('401 access_token_invalid');
      }
    }
  });
});

describe('given keys', () => {
  const older = pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }));
  const newer = pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }));

  test('rotate: the first signs, all verify and are published, and a removed one is neither', async () => {
    const folder = temporaryFolder();
    const start = (JWT_PRIVATE_KEY: string) => startApp({ DATA_DIR: folder, ALGORITHM: 'ES256', JWT_PRIVATE_KEY });
    const before = await start(older);
    const { accessToken } = await before.register();
    const during = await start(`${newer}\n${older}`);
    expect((await during.get('/users/me', accessToken)).statusCode).toBe(200);
    expect((await during.get('/.well-known/jwks.json')).json<{ keys: object[] }>().keys).toHaveLength(2);
    const { accessToken: next } = await during.login();
    const after = await start(newer);
    expect((await after.get('/users/me', next)).statusCode).toBe(200);
    expect(problemOf(await after.get('/users/me', accessToken))).toBe('401 access_token_invalid');
    expect((await after.get('/.well-known/jwks.json')).json<{ keys: object[] }>().keys).toHaveLength(1);
    expect(readdirSync(folder)).not.toContain('jwt-es256.pem');
  });

  test.each<[string, string, string, string]>([
    ['text', 'ES256', 'not a key at all', 'holds no PEM private key'],
    ['another curve', 'ES256', pem(generateKeyPairSync('ec', { namedCurve: 'P-384' })), 'does not fit ALGORITHM=ES256'],
    ['a key of another kind', 'EdDSA', older, 'does not fit ALGORITHM=EdDSA'],
    ['an Ed448 key', 'EdDSA', pem(generateKeyPairSync('ed448')), 'does not fit ALGORITHM=EdDSA'],
    ['RSA of 2048 bits', 'RS256', pem(generateKeyPairSync('rsa', { modulusLength: 2048 })), 'does not fit ALGORITHM=RS256 (RSA of at least 3072 bits)'],
    ['a public key', 'ES256', createPublicKey(older).export({ type: 'spki', format: 'pem' }).toString(), 'is not a readable, unencrypted PEM private key'],
    ['a damaged key', 'ES256', older.replace(/[A-Z]{2}/g, 'AA'), 'holds no PEM private key'],
    ['a good key and a wrong one', 'ES256', `${older}\n${pem(generateKeyPairSync('ed25519'))}`, 'does not fit ALGORITHM=ES256'],
  ])('%s for %s is refused, not shown, and no key is made instead', (_name, ALGORITHM, key, reason) => {
    const folder = temporaryFolder();
    expect(() => loadConfig({ DATA_DIR: folder, SECRET_KEY: OLD, ALGORITHM, JWT_PRIVATE_KEY: key })).toThrow(new ConfigError('JWT_PRIVATE_KEY', reason));
    expect(readdirSync(folder)).toEqual([]);
  });

  test('HS256 publishes nothing: its key is no public key', async () => {
    expect((await (await startApp()).get('/.well-known/jwks.json')).json()).toEqual({ keys: [] });
  });
});
