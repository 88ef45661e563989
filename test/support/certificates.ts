import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file with a key and a certificate for localhost, signed by itself, made for this run; null where there is no openssl. */
export const LOCALHOST_PEM = makePem('ec');

/** A file with a key of the kind, and its certificate for the names; null where there is no openssl. */
export function makePem(kind: 'ec' | 'rsa', names = 'DNS:localhost,IP:127.0.0.1,IP:0.0.0.0'): string | null {
  const folder = mkdtempSync(join(tmpdir(), 'keyturn-certificate-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const [key, certificate, both] = ['key', 'certificate', 'both'].map((name) => join(folder, `${name}.pem`)) as [string, string, string];
  try {
    execFileSync('openssl', [
      'req', '-x509', '-newkey', kind, '-pkeyopt', kind === 'ec' ? 'ec_paramgen_curve:prime256v1' : 'rsa_keygen_bits:3072', '-nodes', '-days', '2', '-subj', '/CN=localhost',
      '-addext', `subjectAltName=${names}`, '-keyout', key, '-out', certificate,
    ], { stdio: 'ignore' });
  } catch {
    return null;
  }
  writeFileSync(both, readFileSync(certificate, 'utf8') + readFileSync(key, 'utf8'));
  return both;
}
