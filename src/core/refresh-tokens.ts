import { createHmac, hash, type KeyObject, randomBytes, timingSafeEqual } from 'node:crypto';
import type { DerivedKeys } from '../secrets.ts';

/** A refresh token, taken apart: `rt1.<session id>.<generation>.<secret>.<MAC>`. */
export type RefreshToken = { sessionId: string; generation: number; secret: Buffer };
/** A token whose MAC is right, and the key that its session belongs to. */
export type GenuineToken = { token: RefreshToken; key: DerivedKeys };

const FORMAT = /^rt1\.([\w-]{22})\.(0|[1-9]\d{0,9})\.([\w-]{43})\.([\w-]{22})$/;
const MAC_BYTES = 16;

/**
 * How many generations a superseded token is followed to the current one: 2 ms of work. A session that rotates more often
 * within two windows is no browser's, and a token that is further behind counts as reuse.
 */
export const MAX_STEPS = 1_000;

/** 128 random bits, base64url; unlike a UUID wholly random (ASVS 7.2.3, 11.5.1). */
export function randomId(): string {
  return randomBytes(16).toString('base64url');
}

/** The secret of generation 0: 256 random bits. */
export function randomSecret(): Buffer {
  return randomBytes(32);
}

/** Takes a token apart, without a look at its MAC. Returns null for what is no token in its one canonical spelling. */
export function parseRefreshToken(text: string): (RefreshToken & { mac: Buffer }) | null {
  const [, sessionId, generation, secretText, macText] = FORMAT.exec(text) ?? [];
  if (!sessionId || !generation || !secretText || !macText) return null;
  const secret = Buffer.from(secretText, 'base64url');
  const mac = Buffer.from(macText, 'base64url');
  if (secret.toString('base64url') !== secretText || mac.toString('base64url') !== macText) return null;
  return { sessionId, generation: Number(generation), secret, mac };
}

/**
 * Returns the token if Keyturn issued it under one of the keys, and that key; null for everything else, after one HMAC for
 * each key and before any look-up. The MAC only recognises a token. What accepts it is the hash in the session's row, so
 * that the key alone makes no session.
 */
export function recognizeToken(keys: readonly DerivedKeys[], text: string): GenuineToken | null {
  const parsed = parseRefreshToken(text);
  if (!parsed) return null;
  const { mac, ...token } = parsed;
  const key = keys.find(({ tokenKey }) => timingSafeEqual(macOf(tokenKey, token), mac));
  return key ? { token, key } : null;
}

/** Writes a token with its MAC. */
export function formatRefreshToken({ tokenKey }: Pick<DerivedKeys, 'tokenKey'>, token: RefreshToken): string {
  return `${chainText(token)}.${macOf(tokenKey, token).toString('base64url')}`;
}

/**
 * What the store keeps of a token: SHA-256 of its text up to the MAC, base64url, so that session and generation are part of
 * what is compared. Its secret has 256 bits, so it needs no salt and no slow hash (ASVS 6.5.2).
 */
export function hashToken(token: RefreshToken): string {
  return hash('sha256', chainText(token), 'base64url');
}

/** The one child of a token: HMAC-SHA-256 with the session's key, so that every racer can be handed the same one. */
export function nextToken(chainKey: KeyObject, { sessionId, generation, secret }: RefreshToken): RefreshToken {
  const next = createHmac('sha256', chainKey).update(`keyturn refresh|${sessionId}|${generation + 1}|`).update(secret).digest();
  return { sessionId, generation: generation + 1, secret: next };
}

/** Follows a token forward to a later generation; null if that is more than MAX_STEPS ahead. */
export function followTo(chainKey: KeyObject, token: RefreshToken, generation: number): RefreshToken | null {
  if (generation - token.generation > MAX_STEPS) return null;
  let current = token;
  while (current.generation < generation) current = nextToken(chainKey, current);
  return current;
}

function chainText({ sessionId, generation, secret }: RefreshToken): string {
  return `rt1.${sessionId}.${generation}.${secret.toString('base64url')}`;
}

/** HMAC-SHA-256, cut to 128 bits (RFC 2104 §5). */
function macOf(tokenKey: KeyObject, token: RefreshToken): Buffer {
  return createHmac('sha256', tokenKey).update(chainText(token)).digest().subarray(0, MAC_BYTES);
}
