import { createHash, createHmac, createSecretKey } from 'node:crypto';
import { expect, test } from 'vitest';
import {
  followTo, formatRefreshToken, hashToken, MAX_STEPS, nextToken, parseRefreshToken, randomId, randomSecret, recognizeToken,
} from '../../src/core/refresh-tokens.ts';
import type { DerivedKeys } from '../../src/secrets.ts';

const chainKey = createSecretKey(Buffer.alloc(32, 7));
const keysOf = (id: string, byte: number) => ({ id, chainKey, tokenKey: createSecretKey(Buffer.alloc(32, byte)) }) as DerivedKeys;
const [oldKeys, newKeys] = [keysOf('old', 9), keysOf('new', 10)];
const first = { sessionId: 'AAAAAAAAAAAAAAAAAAAAAA', generation: 0, secret: Buffer.alloc(32, 1) };
const CHAIN_TEXT = 'rt1.AAAAAAAAAAAAAAAAAAAAAA.0.AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE';
const TEXT = formatRefreshToken(oldKeys, first);

test('a token is written and read in one spelling', () => {
  expect(TEXT).toBe(`${CHAIN_TEXT}.${createHmac('sha256', oldKeys.tokenKey).update(CHAIN_TEXT).digest().subarray(0, 16).toString('base64url')}`);
  expect(TEXT).toHaveLength(95);
  expect(parseRefreshToken(TEXT)).toMatchObject(first);
  for (const spelling of [`${TEXT}=`, ` ${TEXT}`, TEXT.replace('QE.', 'QF.'), TEXT.replace('.0.', '.00.'), CHAIN_TEXT, `${CHAIN_TEXT}.`]) {
    expect(parseRefreshToken(spelling)).toBeNull();
  }
});

test('the MAC has no spare bits: no other last character is read as the same token', () => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const accepted = Array.from(alphabet).filter((last) => recognizeToken([oldKeys], TEXT.slice(0, -1) + last));
  expect(accepted).toEqual([TEXT.at(-1)]);
});

test('a token is recognised under each key in the list, and under no other', () => {
  expect(recognizeToken([oldKeys], TEXT)).toEqual({ token: first, key: oldKeys });
  expect(recognizeToken([newKeys, oldKeys], TEXT)).toEqual({ token: first, key: oldKeys });
  expect(recognizeToken([newKeys], TEXT)).toBeNull();
});

test('a token of which any part was changed is not recognised', () => {
  const parts = TEXT.split('.');
  for (const [at, other] of [[1, 'BAAAAAAAAAAAAAAAAAAAAA'], [2, '1'], [3, 'AgEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE'], [4, 'AAAAAAAAAAAAAAAAAAAAAA']] as const) {
    expect(recognizeToken([oldKeys], parts.with(at, other).join('.'))).toBeNull();
  }
});

test('the stored digest is the SHA-256 of the token up to its MAC, by a vector of another implementation', () => {
  expect(Buffer.from(hashToken(first), 'base64url').toString('hex')).toBe('71e8422e8c5172aa91de8a836c3dcc20eef857942844ede1e1fd3b34495c515d');
  expect(hashToken({ ...first, generation: 1 })).not.toBe(hashToken(first));
});

test('the child is HMAC-SHA-256 over label, session, generation and secret, so that a server of another make can compute it', () => {
  const child = nextToken(chainKey, first);
  const byHand = createHmac('sha256', chainKey).update(Buffer.concat([Buffer.from('keyturn refresh|AAAAAAAAAAAAAAAAAAAAAA|1|'), first.secret])).digest();
  expect(child).toEqual({ sessionId: first.sessionId, generation: 1, secret: byHand });
  expect(child.secret.toString('hex')).toBe('bdaf8023b0ffdf14e682705fe07d9eb2215df02bb94376d554462db46196ff56');
});

test('the child needs the key, the session and the generation: changing one changes it', () => {
  const child = nextToken(chainKey, first).secret;
  expect(nextToken(createSecretKey(Buffer.alloc(32, 8)), first).secret).not.toEqual(child);
  expect(nextToken(chainKey, { ...first, sessionId: 'BAAAAAAAAAAAAAAAAAAAAA' }).secret).not.toEqual(child);
  expect(nextToken(chainKey, { ...first, generation: 1 }).secret).not.toEqual(child);
});

test('a token is followed forward by a bounded number of steps', () => {
  const third = nextToken(chainKey, nextToken(chainKey, nextToken(chainKey, first)));
  expect(followTo(chainKey, first, 3)).toEqual(third);
  expect(followTo(chainKey, third, 3)).toBe(third);
  expect(followTo(chainKey, first, MAX_STEPS)?.generation).toBe(MAX_STEPS);
  expect(followTo(chainKey, first, MAX_STEPS + 1)).toBeNull();
});

test('ids have 128 random bits and secrets 256', () => {
  expect(Buffer.from(randomId(), 'base64url')).toHaveLength(16);
  expect(randomSecret()).toHaveLength(32);
  const digests = Array.from({ length: 1000 }, () => createHash('sha256').update(randomSecret()).digest('hex'));
  expect(new Set(digests).size).toBe(1000);
});
