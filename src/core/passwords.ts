import argon2 from 'argon2';
import type { Config } from '../config.ts';
import { chooseArgon2 } from './argon2.ts';
import { askForBreach } from './breaches.ts';
import { chooseDecoy, type HashKinds } from './decoys.ts';
import { createHashQueue } from './hash-queue.ts';
import { fitsStoredHash, isReadable, OWN_FORMAT } from './stored-hashes.ts';

export type Passwords = ReturnType<typeof createPasswords>;

/**
 * Argon2id at the configured cost (OWASP Password Storage; ASVS 11.4.2), off the event loop, at most one hash per core at
 * a time in this process, with a bounded queue behind. Passwords are compared whole, after NFC (NIST SP 800-63B-4 §3.1.1.2).
 * `onHibpUnavailable` is told why Have I Been Pwned could not be asked.
 */
export function createPasswords(config: Pick<Config, 'argon2' | 'passwords' | 'secrets'>, onHibpUnavailable?: (reason: string) => void) {
  const { argon2: cost, passwords: { queueLimit, hibpUrl } } = config;
  const { decoyKey } = config.secrets.derivedKeys[0];
  const { hasRoom, run } = createHashQueue(queueLimit);
  const ownKind: HashKinds = new Map([[ownDecoy(cost), 1]]);
  let kinds = ownKind;

  return {
    /** Whether a hash would not be refused now. */
    hasRoom,

    /** @throws PasswordQueueFull, HashNotComputed */
    hash: (password: string): Promise<string> => run(async () => (await chooseArgon2()).hash(password.normalize('NFC'), cost)),

    /**
     * Whether the password fits the hash. Without a hash, because nobody has that name, it does the work that one of the
     * accounts would cost, always the same for one name, and says no (ASVS 6.3.8). So it does for a hash that cannot be read
     * (ASVS 11.2.5). `name` is the normalised identifier that was typed.
     * @throws PasswordQueueFull, HashNotComputed
     */
    verify: async (password: string, storedHash: string | undefined, name: string): Promise<boolean> => {
      const decoy = chooseDecoy(kinds, decoyKey, name);
      const isReal = storedHash !== undefined && isReadable(storedHash);
      const fits = await run(() => fitsAsSentOrComposed(password, isReal ? storedHash : decoy));
      return fits && isReal;
    },

    /** From now on a name that nobody has costs what accounts with hashes of these kinds cost. */
    learnKinds: (counted: HashKinds) => {
      kinds = counted.size > 0 ? counted : ownKind;
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

/** What this server's own hashes cost, while the table holds none. */
function ownDecoy({ memoryCost, timeCost, parallelism }: Config['argon2']): string {
  return `${OWN_FORMAT}v=19$m=${memoryCost},t=${timeCost},p=${parallelism}$${'A'.repeat(22)}$${'A'.repeat(43)}`;
}

/** Keyturn hashes passwords in NFC; other systems hashed them as they were typed. An unknown account is tried as often. */
async function fitsAsSentOrComposed(password: string, storedHash: string): Promise<boolean> {
  for (const form of new Set([password.normalize('NFC'), password])) {
    if (await fitsStoredHash(form, storedHash)) return true;
  }
  return false;
}
