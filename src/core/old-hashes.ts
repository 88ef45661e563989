import { argon2Derivation, bcryptDerivation, bytesOf, type Derivation, firebaseDerivation, hmacSha256, pbkdf2Derivation, scryptDerivation, sha256 } from './old-hash-functions.ts';

type Parts = Record<'cost' | 'salt' | 'hash' | 'digest' | 'iterations' | 'n' | 'r' | 'p' | 'separator' | 'key' | 'type' | 'version' | 'memory' | 'passes' | 'lanes', string>;
/** `pattern` tells where the parts are, too. */
type Format = { pattern: RegExp; read: (parts: Parts) => Derivation };

/** Longer ones are not looked at. */
const MAX_LENGTH = 1024;

/** One entry for each way in which a system wrote its hashes. Salts of text are bytes of UTF-8, others are decoded. */
const FORMATS: Format[] = [
  { // bcrypt as it is, and as Django writes it
    pattern: /^(?:bcrypt\$)?\$2[aby]\$(?<cost>\d\d)\$(?<salt>[A-Za-z\d./]{22})(?<hash>[A-Za-z\d./]{31})$/d,
    read: (parts) => bcryptDerivation(parts, (password) => password),
  },
  { // Django
    pattern: /^bcrypt_sha256\$\$2[aby]\$(?<cost>\d\d)\$(?<salt>[A-Za-z\d./]{22})(?<hash>[A-Za-z\d./]{31})$/d,
    read: (parts) => bcryptDerivation(parts, (password) => sha256(password, 'hex')),
  },
  { // passlib 1.7.3 and later
    pattern: /^\$bcrypt-sha256\$v=2,t=2b,r=(?<cost>\d\d?)\$(?<salt>[A-Za-z\d./]{22})\$(?<hash>[A-Za-z\d./]{31})$/d,
    read: (parts) => bcryptDerivation(parts, (password) => hmacSha256(parts.salt, password)),
  },
  { // passlib before
    pattern: /^\$bcrypt-sha256\$2[ab],(?<cost>\d\d?)\$(?<salt>[A-Za-z\d./]{22})\$(?<hash>[A-Za-z\d./]{31})$/d,
    read: (parts) => bcryptDerivation(parts, (password) => sha256(password, 'base64')),
  },
  { // Django
    pattern: /^pbkdf2_(?<digest>sha1|sha256)\$(?<iterations>[1-9]\d{0,9})\$(?<salt>[!-#%-~]+)\$(?<hash>[A-Za-z\d+/]{27,43}=)$/d,
    read: (parts) => pbkdf2Derivation(parts, Buffer.from(parts.salt), bytesOf(parts.hash)),
  },
  { // Werkzeug
    pattern: /^pbkdf2:(?<digest>sha1|sha256|sha512):(?<iterations>[1-9]\d{0,9})\$(?<salt>[!-#%-~]+)\$(?<hash>[\da-f]{40,128})$/d,
    read: (parts) => pbkdf2Derivation(parts, Buffer.from(parts.salt), Buffer.from(parts.hash, 'hex')),
  },
  { // passlib
    pattern: /^\$pbkdf2(?:-(?<digest>sha256|sha512))?\$(?<iterations>[1-9]\d{0,9})\$(?<salt>[A-Za-z\d./]+)\$(?<hash>[A-Za-z\d./]{27,86})$/d,
    read: (parts) => pbkdf2Derivation(parts, bytesOf(parts.salt), bytesOf(parts.hash)),
  },
  { // Django
    pattern: /^scrypt\$(?<n>\d{1,10})\$(?<salt>[!-#%-~]+)\$(?<r>\d{1,5})\$(?<p>\d{1,5})\$(?<hash>[A-Za-z\d+/]{86}==)$/d,
    read: (parts) => scryptDerivation(parts, Buffer.from(parts.salt), bytesOf(parts.hash)),
  },
  { // Werkzeug
    pattern: /^scrypt:(?<n>\d{1,10}):(?<r>\d{1,5}):(?<p>\d{1,5})\$(?<salt>[!-#%-~]+)\$(?<hash>[\da-f]{128})$/d,
    read: (parts) => scryptDerivation(parts, Buffer.from(parts.salt), Buffer.from(parts.hash, 'hex')),
  },
  { // passlib
    pattern: /^\$scrypt\$ln=(?<n>\d{1,2}),r=(?<r>\d{1,5}),p=(?<p>\d{1,5})\$(?<salt>[A-Za-z\d+/]*)\$(?<hash>[A-Za-z\d+/]{43})$/d,
    read: (parts) => scryptDerivation({ ...parts, n: String(2 ** Number(parts.n)) }, bytesOf(parts.salt), bytesOf(parts.hash)),
  },
  { // Firebase, as Supabase writes it; ss is the separator of the salt and sk the signer key, one for all users of a project
    pattern: /^\$fbscrypt\$v=1,n=(?<n>\d{1,2}),r=(?<r>\d{1,5}),p=(?<p>\d{1,5})(?:,ss=(?<separator>[\w+/-]*={0,2}))?,sk=(?<key>[\w+/-]{22,}={0,2})\$(?<salt>[\w+/-]+={0,2})\$(?<hash>[\w+/-]{22,}={0,2})$/d,
    read: (parts) => firebaseDerivation(parts),
  },
  { // argon2's own, in whichever order, and as Django writes it
    pattern: /^(?:argon2)?\$argon2(?<type>id|i|d)\$(?:v=(?<version>16|19)\$)?m=(?<memory>\d{1,10}),(?:t=(?<passes>\d{1,10}),p=(?<lanes>\d{1,5})|p=(?<lanes>\d{1,5}),t=(?<passes>\d{1,10}))\$(?<salt>[A-Za-z\d+/]{11,86})\$(?<hash>[A-Za-z\d+/]{22,86})$/d,
    read: (parts) => argon2Derivation(parts),
  },
];

/** How to try a password against the hash, and whether it is argon2. */
export type OldHash = Derivation & { isArgon2: boolean };

/** Null for what is of no known format, or cannot be. */
export function readOldHash(hash: string): OldHash | null {
  const found = findFormat(hash);
  if (!found) return null;
  const parts = found.match.groups as Parts;
  const derivation = found.read(parts);
  return derivation.sound ? { ...derivation, isArgon2: 'lanes' in parts } : null;
}

function findFormat(hash: string): { match: RegExpExecArray; read: Format['read'] } | null {
  if (hash.length > MAX_LENGTH) return null;
  for (const { pattern, read } of FORMATS) {
    const match = pattern.exec(hash);
    if (match) return { match, read };
  }
  return null;
}

/** The hash with zeros in the place of the named parts; as long, of the same format, and just as costly. */
export function blankOut(hash: string, names: (keyof Parts)[]): string {
  const places = findFormat(hash)?.match.indices?.groups ?? {};
  return names.reduce((text, name) => {
    const [start, end] = places[name] ?? [0, 0];
    return text.slice(0, start) + zerosLike(text.slice(start, end)) + text.slice(end);
  }, hash);
}

/** Zeros in hexadecimal or in base64, whose padding stays. */
function zerosLike(text: string): string {
  return text.replace(/[^=]/g, /^[\da-f]*$/.test(text) ? '0' : 'A');
}
