import { createHash, createPrivateKey, createPublicKey, createSecretKey, generateKeyPairSync, hkdfSync, type KeyObject, randomBytes } from 'node:crypto';
import { existsSync, linkSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * What is derived from one SECRET_KEY, by HKDF-SHA-256 (RFC 5869), 32 bytes each; a key object is five times as fast as bytes.
 * It may be retired by putting a newer one before it (ASVS 13.3.4).
 */
export type DerivedKeys = {
  /** names the keys in a row and in a token's header; says nothing about them */
  id: string;
  /** from which refresh tokens are derived */
  chainKey: KeyObject;
  /** makes the MAC by which a refresh token is recognised */
  tokenKey: KeyObject;
  /** from which the tokens of links in mails are derived */
  linkKey: KeyObject;
  /** signs the device cookie */
  deviceKey: KeyObject;
  /** hashes what is throttled */
  throttleKey: KeyObject;
  /** chooses the decoy hash of a name that nobody has */
  decoyKey: KeyObject;
};
export type SigningKey = { id: string; algorithm: Algorithm; sign: Buffer | string; verify: Buffer | string; jwk: JsonWebKey | null };
export type Algorithm = 'HS256' | 'ES256' | 'EdDSA' | 'RS256';
export type Secrets = {
  derivedKeys: [DerivedKeys, ...DerivedKeys[]];
  signingKeys: [SigningKey, ...SigningKey[]];
  /** files in which generated keys are kept, to be told at start */
  files: string[];
  /** those of them that others than their owner may read or write */
  exposedFiles: string[];
};
type JsonWebKey = { kty?: string; crv?: string; x?: string; y?: string; n?: string; e?: string; kid: string; alg: string; use: 'sig' };
type Refusal = { variable: string; problem: string };
type Source = { SECRET_KEY: string; ALGORITHM: Algorithm; JWT_PRIVATE_KEY: string };

const MIN_SECRET_BYTES = 32;
const PLACEHOLDER = /your[-_ ]|change[-_ ]?me|super[-_ ]?secret|secret[-_ ]?key|example|placeholder|password|^(.{1,8})\1+$/i;

/**
 * The keys from the configuration, or else those kept in the data folder, made on the first start (mode 0600).
 * Without `keep` none is written: a key that is missing is made for this process alone.
 * A short, repeated or well-known secret is refused (RFC 8725 §3.5), and so is a key that does not fit the algorithm.
 */
export function loadSecrets(source: Source, dataDir: string, { keep }: { keep: boolean }): Secrets | Refusal {
  const files: string[] = [];
  const kept = (name: string, make: () => string) => {
    const path = join(dataDir, name);
    if (!keep && !existsSync(path)) return make();
    files.push(path);
    return keepOnce(path, make);
  };
  const exposed = () => files.filter((path) => (statSync(path).mode & 0o077) !== 0);
  const secrets = (source.SECRET_KEY || kept('secret.key', () => randomBytes(48).toString('hex'))).split(',').map((entry) => entry.trim());
  const weak = secrets.map(weakness).find((reason) => reason !== null);
  if (weak) return { variable: 'SECRET_KEY', problem: weak };
  const derivedKeys = secrets.map(deriveKeys) as Secrets['derivedKeys'];
  if (source.ALGORITHM === 'HS256') {
    const signingKeys = secrets.map(hmacSigningKey) as Secrets['signingKeys'];
    return { derivedKeys, signingKeys, files, exposedFiles: exposed() };
  }
  const pem = source.JWT_PRIVATE_KEY || kept(`jwt-${source.ALGORITHM.toLowerCase()}.pem`, () => generatePrivateKey(source.ALGORITHM));
  const blocks = pem.match(/-----BEGIN [A-Z ]+-----[\s\S]+?-----END [A-Z ]+-----/g) ?? [];
  const keys = blocks.map((block) => signingKeyFromPem(block, source.ALGORITHM));
  const refusal = keys.length === 0 ? 'holds no PEM private key' : keys.find((key) => typeof key === 'string');
  if (refusal !== undefined) return { variable: 'JWT_PRIVATE_KEY', problem: refusal };
  return { derivedKeys, signingKeys: keys as Secrets['signingKeys'], files, exposedFiles: exposed() };
}

function weakness(secret: string): string | null {
  if (Buffer.byteLength(secret) < MIN_SECRET_BYTES) return `must have at least ${MIN_SECRET_BYTES} bytes; make one with: openssl rand -base64 48`;
  if (PLACEHOLDER.test(secret) || new Set(secret).size < 8) return 'is a placeholder or easily guessed; make one with: openssl rand -base64 48';
  return null;
}

function derive(secret: string, label: string, bytes: number): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', `keyturn ${label} v1`, bytes));
}

function keyId(secret: string): string {
  return derive(secret, 'key id', 9).toString('base64url');
}

function deriveKeys(secret: string): DerivedKeys {
  const key = (label: string) => createSecretKey(derive(secret, label, 32));
  return {
    id: keyId(secret), chainKey: key('refresh chain'), tokenKey: key('refresh token'), linkKey: key('mail link'),
    deviceKey: key('device cookie'), throttleKey: key('throttle'), decoyKey: key('decoy hash'),
  };
}

function hmacSigningKey(secret: string): SigningKey {
  const key = Buffer.from(secret);
  return { id: keyId(secret), algorithm: 'HS256', sign: key, verify: key, jwk: null };
}

function generatePrivateKey(algorithm: Algorithm): string {
  const { privateKey } = algorithm === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
    : algorithm === 'EdDSA' ? generateKeyPairSync('ed25519')
    : generateKeyPairSync('rsa', { modulusLength: 3072 });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** The key, or the reason why it cannot be used. RSA needs 3072 bits (ASVS 11.2.3). */
function signingKeyFromPem(pem: string, algorithm: Algorithm): SigningKey | string {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    return 'is not a readable, unencrypted PEM private key';
  }
  const { namedCurve, modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  const fits = algorithm === 'ES256' ? namedCurve === 'prime256v1'
    : algorithm === 'EdDSA' ? key.asymmetricKeyType === 'ed25519'
    : key.asymmetricKeyType === 'rsa' && modulusLength >= 3072;
  if (!fits) return `does not fit ALGORITHM=${algorithm}${algorithm === 'RS256' ? ' (RSA of at least 3072 bits)' : ''}`;
  const publicKey = createPublicKey(key);
  const der = publicKey.export({ type: 'spki', format: 'der' });
  const id = createHash('sha256').update(der).digest().subarray(0, 9).toString('base64url');
  return {
    id,
    algorithm,
    sign: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    verify: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    jwk: { ...publicKey.export({ format: 'jwk' }), kid: id, alg: algorithm, use: 'sig' },
  };
}

/** Reads the file, or makes it whole and at once, so that processes starting together share one key. */
function keepOnce(path: string, make: () => string): string {
  const draft = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  writeFileSync(draft, `${make().trim()}\n`, { flag: 'wx', mode: 0o600, flush: true });
  try {
    linkSync(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    rmSync(draft);
  }
  return readFileSync(path, 'utf8').trim();
}
