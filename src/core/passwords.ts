import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import argon2 from 'argon2';
import pLimit from 'p-limit';
import type { Config } from '../config.ts';
import { chooseArgon2 } from './argon2.ts';
import { askForBreach } from './breaches.ts';
import { fitsOldHash } from './old-hashes.ts';

/** What Keyturn itself makes begins so. */
const OWN_FORMAT = '$argon2id$';

/** Thrown when too many hashes wait; nothing was done, and trying again later will do (ASVS 15.2.2). */
export class PasswordQueueFull extends Error {}

export type Passwords = ReturnType<typeof createPasswords>;

const limit = pLimit(availableParallelism());
const LARGEST_GROUP = 8;
let finished: (() => void)[] = [];

/**
 * Resolves for several that finish one after another together, as many as still wait in the queue: so nobody is held longer than
 * by the queue, and at once when it is empty. A hash leaves the processor's caches cold for the rest of the request, which
 * then costs a fifth of a hash; shared by a group, a twentieth.
 */
function inGroup(): Promise<void> {
  return new Promise((resolve) => {
    finished.push(resolve);
    if (finished.length < Math.min(LARGEST_GROUP, limit.pendingCount)) return;
    const group = finished;
    finished = [];
    for (const goOn of group) goOn();
  });
}

/**
 * Argon2id at the configured cost (OWASP Password Storage; ASVS 11.4.2), off the event loop, at most one hash per core at
 * a time in this process, with a bounded queue behind. Passwords are compared whole, after NFC (NIST SP 800-63B-4 §3.1.1.2).
 * `onHibpUnavailable` is told why Have I Been Pwned could not be asked.
 */
export function createPasswords({ argon2: cost, passwords: { queueLimit, hibpUrl } }: Pick<Config, 'argon2' | 'passwords'>, onHibpUnavailable?: (reason: string) => void) {
  const hasRoom = () => limit.activeCount + limit.pendingCount < limit.concurrency + queueLimit;
  const queued = <Result>(work: () => Promise<Result>): Promise<Result> => {
    if (!hasRoom()) throw new PasswordQueueFull();
    return limit(work).finally(inGroup);
  };
  const hash = async (password: string) => queued(async () => (await chooseArgon2()).hash(password.normalize('NFC'), cost));
  let decoy: Promise<string> | undefined;

  return {
    /** Whether a hash would not be refused now. */
    hasRoom,

    /** @throws PasswordQueueFull */
    hash,

    /**
     * Whether the password fits the hash. Without a hash (no such user) it does the same work against a decoy and says no,
     * so that the time tells nothing (ASVS 6.3.8). A hash that cannot be read is a no as well (ASVS 11.2.5).
     * @throws PasswordQueueFull
     */
    verify: async (password: string, storedHash: string | undefined): Promise<boolean> => {
      decoy ??= chooseArgon2().then((implementation) => implementation.hash(randomBytes(32), cost));
      const against = storedHash ?? (await decoy);
      const fits = await queued(() => fitsAsSentOrComposed(password, against));
      return fits && storedHash !== undefined;
    },

    /** Whether the hash is another system's, or was made at another cost than the configured one. */
    isOutdated: (storedHash: string) => !storedHash.startsWith(OWN_FORMAT) || argon2.needsRehash(storedHash, cost),

    /** Whether the password, in NFC, is known from a breach. No, when nobody was asked or nobody answers: then it is for the other rules. */
    isBreached: async (password: string): Promise<boolean> => {
      if (hibpUrl === null) return false;
      const answer = await askForBreach(hibpUrl, password);
      if (answer.outcome === 'unavailable') onHibpUnavailable?.(answer.reason);
      return answer.outcome === 'breached';
    },
  };
}

/** Keyturn hashes passwords in NFC; other systems hashed them as they were typed. An unknown account is tried as often. */
async function fitsAsSentOrComposed(password: string, storedHash: string): Promise<boolean> {
  for (const form of new Set([password.normalize('NFC'), password])) {
    if (await fitsHash(form, storedHash)) return true;
  }
  return false;
}

async function fitsHash(password: string, storedHash: string): Promise<boolean> {
  if (!storedHash.startsWith(OWN_FORMAT)) return fitsOldHash(password, storedHash);
  return (await chooseArgon2()).verify(storedHash, password).catch(() => false);
}
