import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { bearer, problemOf, startApp } from './support/app.ts';

const SECRET_KEY = 'aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA';
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
type Json = Record<string, unknown>;

const encode = (part: unknown) => Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url');
const decode = (part = '') => JSON.parse(Buffer.from(part, 'base64url').toString()) as Json;
const without = (claims: Json, name: string) => Object.fromEntries(Object.entries(claims).filter(([key]) => key !== name));

/** A token with the right secret; what is wrong with it is in its parts. */
function forge(header: unknown, claims: unknown, digest = 'sha256', key = SECRET_KEY): string {
  const input = `${encode(header)}.${encode(claims)}`;
  return `${input}.${createHmac(digest, key).update(input).digest('base64url')}`;
}

/** An app, and the parts of a good token of its one user. */
async function startWithToken() {
  const testApp = await startApp({ SECRET_KEY });
  const { accessToken, refreshToken } = await testApp.register();
  const [header, claims, signature = ''] = accessToken.split('.');
  const expectRefused = async (token: string, name = token) => {
    const answer = await testApp.get('/users/me', token);
    expect.soft([problemOf(answer), answer.headers['www-authenticate']], name).toEqual(['401 access_token_invalid', 'Bearer error="invalid_token"']);
    expect.soft(answer.body, name).not.toContain('john');
  };
  return { ...testApp, accessToken, refreshToken, header: decode(header), claims: decode(claims), signature, expectRefused };
}
type Good = Awaited<ReturnType<typeof startWithToken>>;
type Forgeries = Record<string, (good: Good) => string>;

test('an access token says what it is for, ends on time, and holds nothing of the account but its id', async () => {
  const { header, claims, clock, accessToken } = await startWithToken();
  expect(header).toEqual({ alg: 'HS256', typ: 'at+jwt', kid: expect.stringMatching(/^[\w-]{12}$/) });
  const iat = Math.floor(clock.now / 1000);
  expect(claims).toEqual({
    iss: 'keyturn', aud: 'keyturn', sub: expect.stringMatching(/^[\w-]{22}$/), sid: expect.stringMatching(/^[\w-]{22}$/), jti: expect.any(String),
    iat, exp: iat + 900, auth_time: iat, roles: [],
  });
  expect(Buffer.from(accessToken.split('.')[1]!, 'base64url').toString()).not.toMatch(/john|\$argon2/);
});

test('auth_time is when the password was given: no refresh moves it, a new sign-in does (ASVS 10.3.4)', async () => {
  const { clock, claims, refreshToken, refresh, login } = await startWithToken();
  const claimsOf = (token: string) => decode(token.split('.')[1]);
  let current = refreshToken;
  for (const hours of [1, 24]) {
    clock.now += hours * 3_600_000;
    const answer = await refresh(current);
    const body = answer.json<{ access_token: string; refresh_token: string }>();
    current = body.refresh_token;
    expect(claimsOf(body.access_token)).toMatchObject({ auth_time: claims.auth_time, iat: Math.floor(clock.now / 1000) });
  }
  expect(claimsOf((await login()).accessToken)).toMatchObject({ auth_time: Math.floor(clock.now / 1000) });
});

test('a token that this test signs with the right secret and the right parts is accepted, so that the refusals below mean something', async () => {
  const { get, header, claims } = await startWithToken();
  expect((await get('/users/me', forge(header, claims))).statusCode).toBe(200);
});

describe('only the configured algorithm, with the configured key', () => {
  const forgeries: Forgeries = {
    'HS384 with the right secret': ({ header, claims }) => forge({ ...header, alg: 'HS384' }, claims, 'sha384'),
    'HS512 with the right secret': ({ header, claims }) => forge({ ...header, alg: 'HS512' }, claims, 'sha512'),
    'HS384 under a header that says HS256': ({ header, claims }) => forge(header, claims, 'sha384'),
    ...Object.fromEntries(['none', 'None', 'NONE', 'nOnE', '', null].map((alg) =>
      [`alg ${String(alg)}, unsigned`, ({ header, claims }: Good) => `${encode({ ...header, alg })}.${encode(claims)}.`])),
    'alg none with a signature': ({ header, claims }) => forge({ ...header, alg: 'none' }, claims),
    'hs256 in lower case': ({ header, claims }) => forge({ ...header, alg: 'hs256' }, claims),
    'RS256 with the secret as key': ({ header, claims }) => forge({ ...header, alg: 'RS256' }, claims),
    'no alg': ({ header, claims }) => forge(without(header, 'alg'), claims),
    'no signature': ({ accessToken }) => accessToken.slice(0, accessToken.lastIndexOf('.') + 1),
    'no signature and no dot': ({ accessToken }) => accessToken.slice(0, accessToken.lastIndexOf('.')),
    'another secret': ({ header, claims }) => forge(header, claims, 'sha256', SECRET_KEY.toLowerCase()),
    'an empty secret': ({ header, claims }) => forge(header, claims, 'sha256', ''),
    'an edited payload': ({ accessToken, claims, signature }) => [accessToken.split('.')[0], encode({ ...claims, sub: 'someone-else' }), signature].join('.'),
    'five parts': ({ accessToken }) => `${accessToken}.a.b`,
    'an encrypted token with a huge iteration count': ({ claims }) => `${encode({ alg: 'PBES2-HS256+A128KW', enc: 'A128GCM', p2c: 2 ** 31, p2s: 'a' })}.a.a.${encode(claims)}.a`,
    'the whole in base64': ({ accessToken }) => Buffer.from(accessToken).toString('base64'),
    'padding': ({ accessToken }) => `${accessToken}=`,
    'a space inside': ({ accessToken }) => accessToken.replace('.', ' .'),
  };

  test('a token that is signed otherwise, or spelled otherwise, is refused', async () => {
    const good = await startWithToken();
    for (const [name, make] of Object.entries(forgeries)) await good.expectRefused(make(good), name);
  });

  test('a token whose header is not to the letter ours is refused, though the signature fits', async () => {
    const { header, claims, expectRefused } = await startWithToken();
    const changes: Record<string, Json> = {
      'another kid': { kid: 'other' }, 'a kid with SQL': { kid: "' OR 1=1 --" }, 'a kid with a path': { kid: '../../../dev/null' },
      'a kid that is a list': { kid: ['x'] }, 'a kid named __proto__': { kid: '__proto__' }, 'another typ': { typ: 'JWT' }, 'no at+jwt but its cousin': { typ: 'rt+jwt' },
      'typ in another case': { typ: 'AT+JWT' }, 'a crit': { crit: ['exp'] }, 'an unknown crit': { crit: ['x'], x: true },
      'a jwk': { jwk: { kty: 'oct', k: encode(SECRET_KEY) } }, 'a jku': { jku: 'http://127.0.0.1:9/keys' }, 'an x5u': { x5u: 'http://127.0.0.1:9/x' },
    };
    for (const [name, change] of Object.entries(changes)) await expectRefused(forge({ ...header, ...change }, claims), name);
  });
});

describe('claims are checked, though the signature fits', () => {
  test('a token without one of them is refused', async () => {
    const { header, claims, expectRefused } = await startWithToken();
    for (const name of ['exp', 'iss', 'aud', 'sub', 'jti', 'sid', 'iat']) await expectRefused(forge(header, without(claims, name)), name);
    for (const name of ['typ', 'kid']) await expectRefused(forge(without(header, name), claims), name);
  });

  test('a claim of another value or another type is refused', async () => {
    const { header, claims, expectRefused } = await startWithToken();
    const changes: Record<string, Json> = {
      'another aud': { aud: 'someone' }, 'a longer aud': { aud: 'keyturn2' }, 'a list of auds': { aud: ['keyturn', 'x'] }, 'aud in another case': { aud: 'Keyturn' },
      'another iss': { iss: 'evil' }, 'a list of isses': { iss: ['keyturn'] }, 'an unknown sub': { sub: 'AAAAAAAAAAAAAAAAAAAAAA' }, 'a list of subs': { sub: ['x'] },
      'an unknown sid': { sid: 'AAAAAAAAAAAAAAAAAAAAAA' }, 'a sid that is an object': { sid: {} }, 'a sid that is a number': { sid: 5 }, 'a sid that is true': { sid: true }, 'a jti that is a number': { jti: 4 },
      'an exp in the past': { exp: 1 }, 'a negative exp': { exp: -1 }, 'exp as text': { exp: '99999999999' }, 'exp as a list': { exp: [99_999_999_999] }, 'exp null': { exp: null }, 'exp true': { exp: true }, 'a fractional exp': { exp: 9_999_999_999.5 },
      'iat as text': { iat: '1' }, 'an nbf in the future': { nbf: 99_999_999_999 },
    };
    for (const [name, change] of Object.entries(changes)) await expectRefused(forge(header, { ...claims, ...change }), name);
  });

  test('a list of one sid, an exp of infinity, and a payload that is a list are refused', async () => {
    const { header, claims, expectRefused } = await startWithToken();
    await expectRefused(forge(header, { ...claims, sid: [claims.sid] }));
    await expectRefused(forge(header, JSON.stringify(claims).replace(/"exp":\d+/, '"exp":1e999')));
    for (const payload of [[claims], 'null', '"text"', '5', '']) await expectRefused(forge(header, payload));
  });

  test('a token dies at its expiry to the second, however often it was accepted before', async () => {
    const { get, clock, claims, accessToken, expectRefused } = await startWithToken();
    clock.now = (claims.exp as number) * 1000 - 1;
    expect((await get('/users/me', accessToken)).statusCode).toBe(200);
    clock.now += 1;
    await expectRefused(accessToken);
  });

  test('roles in a token are not roles of the user: the answer comes from the database', async () => {
    const { get, header, claims } = await startWithToken();
    expect((await get('/users/me', forge(header, { ...claims, roles: ['admin'] }))).json()).toMatchObject({ roles: [] });
  });
});

describe('access and refresh tokens never stand in for each other', () => {
  test('a refresh token is refused where an access token is needed, on every such route', async () => {
    const { refreshToken, get, request, expectRefused } = await startWithToken();
    await expectRefused(refreshToken);
    for (const url of ['/auth/sessions', '/protected', '/profile']) expect(problemOf(await get(url, refreshToken))).toBe('401 access_token_invalid');
    expect(problemOf(await request({ method: 'DELETE', url: '/auth/sessions/x', headers: bearer(refreshToken) }))).toBe('401 access_token_invalid');
  });

  test('an access token refreshes nothing, by body, header or cookie', async () => {
    const { accessToken, refresh, post } = await startWithToken();
    expect(problemOf(await refresh(accessToken))).toBe('401 refresh_token_invalid');
    expect(problemOf(await post('/auth/refresh', undefined, bearer(accessToken)))).toBe('401 refresh_token_missing');
    expect(problemOf(await post('/auth/refresh', undefined, { cookie: `refresh_token=${accessToken}` }))).toBe('401 refresh_token_invalid');
  });
});

test.each(['HS256', 'ES256', 'EdDSA'])('a token of %s has one spelling: the spare bits of its signature are zero', async (ALGORITHM) => {
  const { register, get } = await startApp({ ALGORITHM });
  const { accessToken } = await register();
  const last = accessToken.at(-1)!;
  const bytes = Buffer.from(accessToken.split('.')[2]!, 'base64url');
  const respelled = Array.from(BASE64URL).filter((letter) => letter !== last).map((letter) => accessToken.slice(0, -1) + letter)
    .filter((token) => Buffer.from(token.split('.')[2]!, 'base64url').equals(bytes));
  expect(respelled.length).toBeGreaterThan(2);
  for (const token of respelled) expect(problemOf(await get('/users/me', token)), token.slice(-1)).toBe('401 access_token_invalid');
  expect((await get('/users/me', accessToken)).statusCode).toBe(200);
  for (const token of respelled) expect(problemOf(await get('/users/me', token)), token.slice(-1)).toBe('401 access_token_invalid');
});

describe('the Authorization header (RFC 6750)', () => {
  test('with a good token and something after it is malformed', async () => {
    const { request, accessToken } = await startWithToken();
    for (const rest of [' b', ',b', ', Bearer b', ';b', '"', ' ']) {
      const answer = await request({ method: 'GET', url: '/users/me', headers: bearer(`${accessToken}${rest}`) });
      expect.soft(problemOf(answer), JSON.stringify(rest)).toBe('401 access_token_invalid');
    }
  });

  test('is answered with a challenge that has an error code only if a token was sent', async () => {
    const { request } = await startApp();
    const askWith = async (headers: Record<string, string>) => {
      const answer = await request({ method: 'GET', url: '/users/me', headers });
      expect(answer.body).not.toContain('am9obj');
      return [problemOf(answer), answer.headers['www-authenticate']];
    };
    expect(await askWith({})).toEqual(['401 access_token_missing', 'Bearer']);
    for (const authorization of ['Basic am9objpwdw==', 'Bearerx am9obj', 'Digest x']) expect.soft(await askWith({ authorization }), authorization).toEqual(['401 access_token_missing', 'Bearer']);
    for (const authorization of ['Bearer', 'Bearer ', 'Bearer am9obj b', 'Bearer am9obj,b', 'bearer am9obj', 'Bearer\tam9obj']) {
      expect.soft(await askWith({ authorization }), authorization).toEqual(['401 access_token_invalid', 'Bearer error="invalid_token"']);
    }
  });

  test('the scheme is read without case', async () => {
    const { request, accessToken } = await startWithToken();
    for (const scheme of ['Bearer', 'bearer', 'BEARER']) expect((await request({ method: 'GET', url: '/users/me', headers: { authorization: `${scheme} ${accessToken}` } })).statusCode).toBe(200);
  });

  test('a token anywhere else counts for nothing', async () => {
    const { get, request, accessToken } = await startWithToken();
    expect(problemOf(await get(`/users/me?access_token=${accessToken}&token=${accessToken}`))).toBe('401 access_token_missing');
    const headers = { cookie: `access_token=${accessToken}; authorization=Bearer ${accessToken}`, 'x-access-token': accessToken, 'proxy-authorization': `Bearer ${accessToken}` };
    expect(problemOf(await request({ method: 'GET', url: '/users/me', headers }))).toBe('401 access_token_missing');
  });

  test('every 401 carries a challenge', async () => {
    const { post } = await startApp();
    const answers = [
      await post('/auth/login', { email: 'a', password: 'b' }), await post('/auth/refresh'), await post('/auth/refresh', { refresh_token: 'x' }),
      await post('/auth/logout'), await post('/auth/change-password', { old_password: 'a', new_password: 'b' }),
    ];
    for (const { statusCode, headers } of answers) expect([statusCode, headers['www-authenticate']]).toEqual([401, expect.stringMatching(/^Bearer( error="invalid_token")?$/)]);
  });
});
