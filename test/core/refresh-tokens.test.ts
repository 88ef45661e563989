import { createHash, createHmac, createSecretKey } from 'node:crypto';
import { expect, test } from 'vitest';
import { followTo, formatRefreshToken, hashToken, MAX_ANCESTRY, nextToken, parseRefreshToken, randomId, randomSecret } from '../../src/core/refresh-tokens.ts';

const chainKey = createSecretKey(Buffer.alloc(32, 7));
const first = { sessionId: 'AAAAAAAAAAAAAAAAAAAAAA', generation: 0, secret: Buffer.alloc(32, 1) };

test('a token is written and read in one spelling', () => {
  const text = 'rt1.AAAAAAAAAAAAAAAAAAAAAA.0.AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE';
  expect(formatRefreshToken(first)).toBe(text);
  expect(parseRefreshToken(text)).toEqual(first);
  expect(parseRefreshToken(text.replace(/E$/, 'F'))).toBeNull();
});

test('the stored digest is the SHA-256 of the token, by a vector of another implementation', () => {
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

test('an ancestor is followed to the current token, within the bound, and never backwards', () => {
  const third = nextToken(chainKey, nextToken(chainKey, nextToken(chainKey, first)));
  expect(followTo(chainKey, first, 3)).toEqual(third);
  expect(followTo(chainKey, third, 3)).toEqual(third);
  expect(followTo(chainKey, third, 2)).toBeNull();
  expect(followTo(chainKey, first, MAX_ANCESTRY)?.generation).toBe(MAX_ANCESTRY);
  expect(followTo(chainKey, first, MAX_ANCESTRY + 1)).toBeNull();
});

test('ids have 128 random bits and secrets 256', () => {
  expect(Buffer.from(randomId(), 'base64url')).toHaveLength(16);
  expect(randomSecret()).toHaveLength(32);
  const digests = Array.from({ length: 1000 }, () => createHash('sha256').update(randomSecret()).digest('hex'));
  expect(new Set(digests).size).toBe(1000);
});
