import { argon2Derivation, bcryptDerivation, bytesOf, type Derivation, firebaseDerivation, hmacSha256, pbkdf2Derivation, scryptDerivation, sha256 } from './old-hash-functions.ts';

type Parts = Record<'cost' | 'salt' | 'hash' | 'digest' | 'iterations' | 'n' | 'r' | 'p' | 'separator' | 'key' | 'type' | 'version' | 'memory' | 'passes' | 'lanes', string>;
type Format = { pattern: RegExp; read: (parts: Parts) => Derivation };

/** Longer ones are not looked at. */
const MAX_LENGTH = 1024;

/** One entry for each way in which a system wrote its hashes. Salts of text are bytes of UTF-8, others are decoded. */
const FORMATS: Format[] = [
  { // bcrypt as it is, and as Django writes it
    pattern: /^(?:bcrypt\$)?\$2[aby]\$(?<cost>\d\d)\$(?<salt>[A-Za-z\d./]{22})(?<hash>[A-Za-z\d./]{31})$/,
    read: (parts) => bcryptDerivation(parts, (password) => password),
  },
  { // Django
    pattern: /^bcrypt_sha256\$\$2[aby]\$(?<cost>\d\d)\$(?<salt>[A-Za-z\d./]{22})(?<hash>[A-Za-z\d./]{31})$/,
    read: (parts) => bcryptDerivation(parts, (password) => sha256(password, 'hex')),
  },
  { // passlib 1.7.3 and later
    pattern: /^\$bcrypt-sha256\$v=2,t=2b,r=(?<cost>\d\d?)\$(?<salt>[A-Za-z\d./]{22})\$(?<hash>[A-Za-z\d./]{31})$/,
    read: (parts) => bcryptDerivation(parts, (password) => hmacSha256(parts.salt, password)),
  },
  { // passlib before
    pattern: /^\$bcrypt-sha256\$2[ab],(?<cost>\d\d?)\$(?<salt>[A-Za-z\d./]{22})\$(?<hash>[A-Za-z\d./]{31})$/,
    read: (parts) => bcryptDerivation(parts, (password) => sha256(password, 'base64')),
  },
  { // Django
    pattern: /^pbkdf2_(?<digest>sha1|sha256)\$(?<iterations>[1-9]\d{0,9})\$(?<salt>[!-#%-~]+)\$(?<hash>[A-Za-z\d+/]{27,43}=)$/,
    read: (parts) => pbkdf2Derivation(parts, Buffer.from(parts.salt), bytesOf(parts.hash)),
  },
  { // Werkzeug
    pattern: /^pbkdf2:(?<digest>sha1|sha256|sha512):(?<iterations>[1-9]\d{0,9})\$(?<salt>[!-#%-~]+)\$(?<hash>[\da-f]{40,128})$/,
    read: (parts) => pbkdf2Derivation(parts, Buffer.from(parts.salt), Buffer.from(parts.hash, 'hex')),
  },
  { // passlib
    pattern: /^\$pbkdf2(?:-(?<digest>sha256|sha512))?\$(?<iterations>[1-9]\d{0,9})\$(?<salt>[A-Za-z\d./]+)\$(?<hash>[A-Za-z\d./]{27,86})$/,
    read: (parts) => pbkdf2Derivation(parts, bytesOf(parts.salt), bytesOf(parts.hash)),
  },
  { // Django
    pattern: /^scrypt\$(?<n>\d{1,10})\$(?<salt>[!-#%-~]+)\$(?<r>\d{1,5})\$(?<p>\d{1,5})\$(?<hash>[A-Za-z\d+/]{86}==)$/,
    read: (parts) => scryptDerivation(parts, Buffer.from(parts.salt), bytesOf(parts.hash)),
  },
  { // Werkzeug
    pattern: /^scrypt:(?<n>\d{1,10}):(?<r>\d{1,5}):(?<p>\d{1,5})\$(?<salt>[!-#%-~]+)\$(?<hash>[\da-f]{128})$/,
    read: (parts) => scryptDerivation(parts, Buffer.from(parts.salt), Buffer.from(parts.hash, 'hex')),
  },
  { // passlib
    pattern: /^\$scrypt\$ln=(?<n>\d{1,2}),r=(?<r>\d{1,5}),p=(?<p>\d{1,5})\$(?<salt>[A-Za-z\d+/]*)\$(?<hash>[A-Za-z\d+/]{43})$/,
    read: (parts) => scryptDerivation({ ...parts, n: String(2 ** Number(parts.n)) }, bytesOf(parts.salt), bytesOf(parts.hash)),
  },
  { // Firebase, as Supabase writes it; ss is the separator of the salt and sk the signer key, one for all users of a project
    pattern: /^\$fbscrypt\$v=1,n=(?<n>\d{1,2}),r=(?<r>\d{1,5}),p=(?<p>\d{1,5})(?:,ss=(?<separator>[\w+/-]*={0,2}))?,sk=(?<key>[\w+/-]{22,}={0,2})\$(?<salt>[\w+/-]+={0,2})\$(?<hash>[\w+/-]{22,}={0,2})$/,
    read: (parts) => firebaseDerivation(parts),
  },
  { // argon2's own, in whichever order, and as Django writes it
    pattern: /^(?:argon2)?\$argon2(?<type>id|i|d)\$(?:v=(?<version>16|19)\$)?m=(?<memory>\d{1,10}),(?:t=(?<passes>\d{1,10}),p=(?<lanes>\d{1,5})|p=(?<lanes>\d{1,5}),t=(?<passes>\d{1,10}))\$(?<salt>[A-Za-z\d+/]{11,86})\$(?<hash>[A-Za-z\d+/]{22,86})$/,
    read: (parts) => argon2Derivation(parts),
  },
];

/** Why a hash of another system is not taken over, or null. Too costly ones would let few sign-ins hold all others up. */
export function findHashFault(hash: string): string | null {
  const derivation = read(hash);
  if (!derivation) return 'is no password hash of a known format';
  return derivation.excess === null ? null : `costs too much: ${derivation.excess}`;
}

/** Whether the password, just as it is, fits a hash of another system. Never throws: what is unknown or too costly is a no. */
export async function fitsOldHash(password: string, hash: string): Promise<boolean> {
  const derivation = read(hash);
  if (!derivation || derivation.excess !== null) return false;
  return derivation.fits(Buffer.from(password)).catch(() => false);
}

function read(hash: string): Derivation | null {
  if (hash.length > MAX_LENGTH) return null;
  const format = FORMATS.find(({ pattern }) => pattern.test(hash));
  const derivation = format?.read(format.pattern.exec(hash)?.groups as Parts);
  return derivation?.sound ? derivation : null;
}
