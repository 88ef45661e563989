import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import argon2 from 'argon2';
import pLimit from 'p-limit';
import type { Config } from '../config.ts';

export const MAX_PASSWORD_LENGTH = 256;

/** Thrown when too many hashes wait; nothing was done, and trying again later will do (ASVS 15.2.2). */
export class PasswordQueueFull extends Error {}

export type Passwords = ReturnType<typeof createPasswords>;

const limit = pLimit(availableParallelism());

/**
 * Argon2id at the configured cost (OWASP Password Storage; ASVS 11.4.2), off the event loop, at most one hash per core at
 * a time in this process, with a bounded queue behind. Passwords are compared whole, after NFC (NIST SP 800-63B-4 §3.1.1.2).
 */
export function createPasswords({ argon2: cost, passwords: { queueLimit } }: Pick<Config, 'argon2' | 'passwords'>) {
  const options = { type: argon2.argon2id, ...cost } as const;
  const queued = <Result>(work: () => Promise<Result>): Promise<Result> => {
    if (limit.activeCount + limit.pendingCount >= limit.concurrency + queueLimit) throw new PasswordQueueFull();
    return limit(work);
  };
  const hash = async (password: string) => queued(() => argon2.hash(password.normalize('NFC'), options));
  let decoy: Promise<string> | undefined;

  return {
    /** @throws PasswordQueueFull */
    hash,

    /**
     * Whether the password fits the hash. Without a hash (no such user) it does the same work against a decoy and says no,
     * so that the time tells nothing (ASVS 6.3.8). A hash that cannot be read is a no as well (ASVS 11.2.5).
     * @throws PasswordQueueFull
     */
    verify: async (password: string, storedHash: string | undefined): Promise<boolean> => {
      decoy ??= argon2.hash(randomBytes(32), options);
      const against = storedHash ?? (await decoy);
      const fits = await queued(() => argon2.verify(against, password.normalize('NFC')).catch(() => false));
      return fits && storedHash !== undefined;
    },

    /** Whether the hash was made at another cost than the configured one. */
    isOutdated: (storedHash: string) => argon2.needsRehash(storedHash, cost),
  };
}

/** The rule that a new password breaks, worded for its owner, or null. Characters are counted as code points after NFC. */
export function findPasswordFault(config: Pick<Config, 'passwords'>, password: string): string | null {
  const { minLength, requireLetterAndDigit } = config.passwords;
  const { length } = Array.from(password.normalize('NFC'));
  if (length < minLength) return `must have at least ${minLength} characters`;
  if (length > MAX_PASSWORD_LENGTH) return `must have at most ${MAX_PASSWORD_LENGTH} characters`;
  if (requireLetterAndDigit && !(/\p{L}/u.test(password) && /\p{N}/u.test(password))) return 'must have a letter and a digit';
  return null;
}
