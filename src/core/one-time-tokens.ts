import { createHash, createHmac, randomBytes } from 'node:crypto';
import type { Core } from './core.ts';

/** What the outbox keeps of a token: with the key it makes the token, without it nothing. */
export type TokenSeed = { seed: string; keyId: string };
export type NewOneTimeToken = TokenSeed & { token: string; tokenHash: string };

/**
 * A token for a link in a mail: 256 random bits, made from a random seed by HMAC-SHA-256 with a key of SECRET_KEY, so that the
 * outbox can hold the seed and the database makes no token by itself (ASVS 6.4.1, 11.5.1).
 */
export function newOneTimeToken(core: Pick<Core, 'config'>): NewOneTimeToken {
  const seed = randomBytes(32).toString('base64url');
  const [{ id: keyId }] = core.config.secrets.derivedKeys;
  const token = tokenFromSeed(core, { seed, keyId }) as string;
  return { seed, keyId, token, tokenHash: hashOneTimeToken(token) };
}

/** The token that was made from the seed; null once its key was taken out of SECRET_KEY. */
export function tokenFromSeed(core: Pick<Core, 'config'>, { seed, keyId }: TokenSeed): string | null {
  const keys = core.config.secrets.derivedKeys.find(({ id }) => id === keyId);
  return keys ? createHmac('sha256', keys.linkKey).update(seed).digest('base64url') : null;
}

/** What the store keeps: SHA-256, base64url. A token has 256 bits: no salt and no slow hash are needed (ASVS 6.5.2). */
export function hashOneTimeToken(token: string): string {
  return createHash('sha256').update(token).digest('base64url');
}
