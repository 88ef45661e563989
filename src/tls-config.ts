import { readFileSync } from 'node:fs';
import { ConfigError } from './environment.ts';

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|::1)$/;

/** Whether the host is this machine; a path is one of its sockets. */
export function isLocal(host: string): boolean {
  return host.startsWith('/') || LOOPBACK.test(bare(host));
}

/** What is sent to another machine is encrypted, to one whose certificate is checked, or the host is named in PLAINTEXT_HOSTS (ASVS 12.3.1, 12.3.2). */
export function requireTls(name: string, hosts: string[], isEncrypted: boolean, trusted: string[], remedy: string) {
  const exposed = isEncrypted ? undefined : hosts.map(bare).find((host) => !isLocal(host) && !trusted.includes(host));
  if (exposed === undefined) return;
  throw new ConfigError(name, `needs TLS, because ${exposed} is another machine: ${remedy}; or name the host in PLAINTEXT_HOSTS if nobody else is on the network between`);
}

/** The list of PLAINTEXT_HOSTS. */
export function parseHosts(list: string): string[] {
  return list.split(',').map((host) => bare(host.trim())).filter(Boolean);
}

/**
 * The same for a database. The address must ask for a check of the certificate; of `host` in the query, pg takes the last.
 * @throws ConfigError with the name under which the address was given
 */
export function requireDatabaseTls(name: string, url: string, trusted: string[]) {
  const { hostname, searchParams } = new URL(url);
  const modes = searchParams.getAll('sslmode');
  const isEncrypted = modes.length > 0 && modes.every((mode) => /^verify-(full|ca)$/.test(mode));
  requireTls(name, [searchParams.getAll('host').at(-1) ?? hostname], isEncrypted, trusted, 'add ?sslmode=verify-full');
}

/** The certificates of TLS_CA, or undefined for those that Node.js trusts. */
export function readCertificates(path: string): string | undefined {
  if (path === '') return undefined;
  try {
    const certificates = readFileSync(path, 'utf8');
    if (certificates.includes('-----BEGIN CERTIFICATE-----')) return certificates;
  } catch (error) {
    throw new ConfigError('TLS_CA', `cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  throw new ConfigError('TLS_CA', 'holds no PEM certificate');
}

function bare(host: string): string {
  return host.replace(/^\[|\]$/g, '');
}
