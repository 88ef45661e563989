import { createHash, createHmac, type KeyObject, randomBytes } from 'node:crypto';

/** A refresh token, taken apart: `rt1.<session id>.<generation>.<secret>`. */
export type RefreshToken = { sessionId: string; generation: number; secret: Buffer };

const FORMAT = /^rt1\.([\w-]{22})\.(0|[1-9]\d{0,9})\.([\w-]{43})$/;

/** How far a superseded token is followed to the current one: a refresh every nine minutes for 30 days, 12 ms of work. */
export const MAX_ANCESTRY = 5_000;

/** 128 random bits, base64url; unlike a UUID wholly random (ASVS 7.2.3, 11.5.1). */
export function randomId(): string {
  return randomBytes(16).toString('base64url');
}

/** The secret of generation 0: 256 random bits. */
export function randomSecret(): Buffer {
  return randomBytes(32);
}

/** Reads a token, or yields null when it is not one, in its one canonical spelling. */
export function parseRefreshToken(token: string): RefreshToken | null {
  const [, sessionId, generation, secret] = FORMAT.exec(token) ?? [];
  if (!sessionId || !generation || !secret) return null;
  const bytes = Buffer.from(secret, 'base64url');
  if (bytes.toString('base64url') !== secret) return null;
  return { sessionId, generation: Number(generation), secret: bytes };
}

/** Writes a token; the inverse of parseRefreshToken. */
export function formatRefreshToken({ sessionId, generation, secret }: RefreshToken): string {
  return `rt1.${sessionId}.${generation}.${secret.toString('base64url')}`;
}

/**
 * What the store keeps of a token: SHA-256 of its one spelling, base64url, so that session and generation are part of
 * what is compared. Its secret has 256 bits: no salt and no slow hash are needed (ASVS 6.5.2).
 */
export function hashToken(token: RefreshToken): string {
  return createHash('sha256').update(formatRefreshToken(token)).digest('base64url');
}

/** The one child of a token: HMAC-SHA-256 with the session's key, so that every racer can be handed the same one. */
export function nextToken(chainKey: KeyObject, { sessionId, generation, secret }: RefreshToken): RefreshToken {
  const next = createHmac('sha256', chainKey).update(`keyturn refresh|${sessionId}|${generation + 1}|`).update(secret).digest();
  return { sessionId, generation: generation + 1, secret: next };
}

/**
 * Follows a token forward to a generation. Only a token of this chain arrives at the current secret, so arriving there
 * proves that it is an ancestor. Null when the generation lies behind the token, or further ahead than MAX_ANCESTRY.
 */
export function followTo(chainKey: KeyObject, token: RefreshToken, generation: number): RefreshToken | null {
  const steps = generation - token.generation;
  if (steps < 0 || steps > MAX_ANCESTRY) return null;
  let current = token;
  for (let step = 0; step < steps; step += 1) current = nextToken(chainKey, current);
  return current;
}
