import { timingSafeEqual } from 'node:crypto';
import { chooseArgon2, type Cost } from './argon2.ts';
import { blankOut, type OldHash, readOldHash } from './old-hashes.ts';

/** What Keyturn itself makes begins so. */
export const OWN_FORMAT = '$argon2id$';

/**
 * A hash of another system inside argon2id: this prefix, the old hash with zeros in the place of its digest, and the
 * argon2id of that digest. So nobody can attack the old hash by itself: whoever steals the row has to compute argon2id
 * for each guess.
 */
const WRAPPED = '$keyturn-wrap$';

/**
 * What `users.password_hash` may hold, read: Keyturn's own hash, one of another system, or one of those that was
 * wrapped.
 */
type StoredHash = { inner: OldHash | null; outer: string | null };

function read(stored: string): StoredHash | null {
  if (!stored.startsWith(WRAPPED)) {
    const hash = readOldHash(stored);
    if (stored.startsWith(OWN_FORMAT)) return hash && { inner: null, outer: stored };
    return hash && hash.excess === null ? { inner: hash, outer: null } : null;
  }
  const { inner, outer } = split(stored);
  const hash = readOldHash(inner);
  return hash && hash.excess === null && readOldHash(outer) ? { inner: hash, outer } : null;
}

/** No format that is wrapped has the start of an argon2id hash in it. */
function split(wrapped: string): { inner: string; outer: string } {
  const at = wrapped.lastIndexOf(OWN_FORMAT);
  return { inner: wrapped.slice(WRAPPED.length, Math.max(at, 0)), outer: wrapped.slice(Math.max(at, 0)) };
}

/** Whether anything can fit the hash; one that costs too much counts as unreadable (ASVS 11.2.5). */
export function isReadable(stored: string): boolean {
  return read(stored) !== null;
}

/**
 * Why a hash is not taken over from another system, or null. Too costly ones would let few sign-ins hold all others up.
 * What another Keyturn has wrapped is taken as it is.
 */
export function findHashFault(hash: string): string | null {
  const excess = readOldHash(hash)?.excess;
  if (excess) return `costs too much: ${excess}`;
  return isReadable(hash) ? null : 'is no password hash of a known format';
}

/**
 * Whether the password, just as it is, fits the hash; what is unreadable fits nothing.
 * @throws the library's error if the hash could not be computed
 */
export async function fitsStoredHash(password: string, stored: string): Promise<boolean> {
  const hash = read(stored);
  if (!hash) return false;
  const { inner, outer } = hash;
  if (!inner) return fitsArgon2(password, outer as string);
  const digest = await inner.derive(Buffer.from(password));
  return outer === null ? isSame(digest, inner.digest) : fitsArgon2(digest.toString('base64'), outer);
}

/**
 * A library may refuse a spelling of base64 that ours reads; if it failed for want of memory, so does the second try.
 */
async function fitsArgon2(password: string, hash: string): Promise<boolean> {
  const implementation = await chooseArgon2();
  return implementation.verify(hash, password).catch(async () => {
    const { derive, digest } = readOldHash(hash) as OldHash;
    return isSame(await derive(Buffer.from(password)), digest);
  });
}

function isSame(derived: Buffer, expected: Buffer): boolean {
  return derived.length === expected.length && timingSafeEqual(derived, expected);
}

/** Whether the hash should be wrapped; argon2 of whatever cost is good enough by itself. */
export function needsWrap(stored: string): boolean {
  const hash = read(stored);
  return hash?.inner?.isArgon2 === false && hash.outer === null;
}

/** The old hash inside argon2id at this cost. @throws the library's error if it could not be computed */
export async function wrapHash(oldHash: string, cost: Cost): Promise<string> {
  const { digest } = readOldHash(oldHash) as OldHash;
  const outer = await (await chooseArgon2()).hash(digest.toString('base64'), cost);
  return `${WRAPPED}${blankOut(oldHash, ['hash'])}${outer}`;
}

/**
 * A hash of the same format and cost, and so as much work to verify, which no password fits: zeros stand in the place
 * of salt, key and digest. Null for a hash that is unreadable.
 */
export function decoyLike(stored: string): string | null {
  if (!isReadable(stored)) return null;
  const blank = (hash: string) => blankOut(hash, ['salt', 'separator', 'key', 'hash']);
  if (!stored.startsWith(WRAPPED)) return blank(stored);
  const { inner, outer } = split(stored);
  return `${WRAPPED}${blank(inner)}${blank(outer)}`;
}
