import { createCipheriv, createHash, createHmac, pbkdf2, randomBytes, scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import argon2 from 'argon2';

const derivePbkdf2 = promisify(pbkdf2);
const deriveScrypt = promisify<Buffer, Buffer, number, object, Buffer>(scrypt);

/**
 * What one hash may cost: each of these is about as long as a sign-in may take, two or three seconds of one core, and several
 * times what any of the libraries takes by default.
 */
const CEILINGS = {
  bcryptCost: 15,
  pbkdf2Iterations: 5_000_000,
  scryptMemoryMib: 256,
  /** memory times lanes: what is written in all */
  scryptWorkMib: 1024,
  argon2MemoryMib: 256,
  argon2Passes: 10,
  argon2Lanes: 16,
} as const;

const MIB = 2 ** 20;
const BCRYPT_HASH_LENGTH = 31;
const DIGEST_BYTES = { sha1: 20, sha256: 32, sha512: 64 };
const ARGON2_TYPES = { d: argon2.argon2d, i: argon2.argon2i, id: argon2.argon2id } as const;
const FIREBASE_KEY_BYTES = 32;

/** How to try a password against one stored hash. */
export type Derivation = {
  /** whether its parameters are possible at all */
  sound: boolean;
  /** by what it is over CEILINGS, or null */
  excess: string | null;
  /** what the right password derives */
  digest: Buffer;
  /** Rejects if it could not be computed, as for want of memory. */
  derive: (password: Buffer) => Promise<Buffer>;
};

/** Bytes of base64, also of base64url and of passlib's kind, which has a dot for the plus. */
export function bytesOf(base64: string): Buffer {
  return Buffer.from(base64.replaceAll('.', '+'), 'base64');
}

/**
 * bcrypt of what `prepare` makes of the password. Like every bcrypt it looks at 72 bytes, and a NUL would end them: a password
 * with one fits nothing. $2a$, $2b$ and $2y$ are one function for the libraries that write them today.
 */
export function bcryptDerivation({ cost, salt, hash }: Record<'cost' | 'salt' | 'hash', string>, prepare: (password: Buffer) => Buffer): Derivation {
  const rounds = Number(cost);
  return {
    sound: rounds >= 4 && rounds <= 31,
    excess: over('bcrypt cost', rounds, CEILINGS.bcryptCost),
    digest: Buffer.from(hash),
    derive: async (password) => {
      const key = prepare(password);
      const derived = await (await import('bcrypt')).default.hash(key, `$2b$${cost.padStart(2, '0')}$${salt}`);
      return key.includes(0) ? randomBytes(BCRYPT_HASH_LENGTH) : Buffer.from(derived.slice(-BCRYPT_HASH_LENGTH));
    },
  };
}

export function sha256(password: Buffer, encoding: 'hex' | 'base64'): Buffer {
  return Buffer.from(createHash('sha256').update(password).digest(encoding));
}

/** base64, for bcrypt ends at a NUL */
export function hmacSha256(key: string, password: Buffer): Buffer {
  return Buffer.from(createHmac('sha256', key).update(password).digest('base64'));
}

/** PBKDF2-HMAC; without a digest it is SHA-1. */
export function pbkdf2Derivation({ digest = 'sha1', iterations }: { digest?: string | undefined; iterations: string }, salt: Buffer, hash: Buffer): Derivation {
  return {
    sound: hash.length === DIGEST_BYTES[digest as keyof typeof DIGEST_BYTES],
    excess: over('PBKDF2 iterations', Number(iterations), CEILINGS.pbkdf2Iterations),
    digest: hash,
    derive: (password) => derivePbkdf2(password, salt, Number(iterations), hash.length, digest),
  };
}

export function scryptDerivation(parts: Record<'n' | 'r' | 'p', string>, salt: Buffer, hash: Buffer): Derivation {
  return { ...checkScrypt(parts), digest: hash, derive: (password) => runScrypt(parts, password, salt, hash.length) };
}

/** Firebase's: the signer key of the project, encrypted by AES-256-CTR under what scrypt makes of password and salt. */
export function firebaseDerivation({ n, r, p, separator = '', key, salt, hash }: Record<'n' | 'r' | 'p' | 'key' | 'salt' | 'hash', string> & { separator?: string | undefined }): Derivation {
  const parts = { n: String(2 ** Number(n)), r, p };
  const fullSalt = Buffer.concat([bytesOf(salt), bytesOf(separator)]);
  return {
    ...checkScrypt(parts),
    digest: bytesOf(hash),
    derive: async (password) => {
      const derived = await runScrypt(parts, password, fullSalt, FIREBASE_KEY_BYTES);
      const cipher = createCipheriv('aes-256-ctr', derived, Buffer.alloc(16));
      return Buffer.concat([cipher.update(bytesOf(key)), cipher.final()]);
    },
  };
}

function checkScrypt(parts: Record<'n' | 'r' | 'p', string>): Pick<Derivation, 'sound' | 'excess'> {
  const [n, r, p] = [Number(parts.n), Number(parts.r), Number(parts.p)];
  const memory = Math.floor((128 * r * (n + p)) / MIB);
  const work = (128 * r * n * p) / MIB;
  return {
    sound: n > 1 && Number.isInteger(Math.log2(n)) && r > 0 && p > 0 && n < 2 ** (16 * r), // RFC 7914 §2
    excess: over('MiB of scrypt', memory, CEILINGS.scryptMemoryMib) ?? over('MiB of work of scrypt', work, CEILINGS.scryptWorkMib),
  };
}

function runScrypt({ n, r, p }: Record<'n' | 'r' | 'p', string>, password: Buffer, salt: Buffer, length: number): Promise<Buffer> {
  return deriveScrypt(password, salt, length, { N: Number(n), r: Number(r), p: Number(p), maxmem: 2 * CEILINGS.scryptMemoryMib * MIB });
}

export function argon2Derivation({ type, version = '16', memory, passes, lanes, salt, hash }: Record<'type' | 'memory' | 'passes' | 'lanes' | 'salt' | 'hash', string> & { version?: string | undefined }): Derivation {
  const digest = bytesOf(hash);
  return {
    sound: Number(lanes) > 0 && Number(passes) > 0 && Number(memory) >= 8 * Number(lanes),
    excess: over('MiB of argon2', Number(memory) / 1024, CEILINGS.argon2MemoryMib) ?? over('passes of argon2', Number(passes), CEILINGS.argon2Passes)
      ?? over('lanes of argon2', Number(lanes), CEILINGS.argon2Lanes),
    digest,
    derive: (password) => argon2.hash(password, {
      raw: true, type: ARGON2_TYPES[type as keyof typeof ARGON2_TYPES], version: Number(version), salt: bytesOf(salt), hashLength: digest.length,
      memoryCost: Number(memory), timeCost: Number(passes), parallelism: Number(lanes),
    }),
  };
}

function over(what: string, cost: number, ceiling: number): string | null {
  return cost > ceiling ? `${Math.ceil(cost)} ${what}, at most ${ceiling}` : null;
}
