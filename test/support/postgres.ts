import { execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';

const DEBIAN = '/usr/lib/postgresql';

/** The folder of PostgreSQL's server programs: POSTGRES_BIN, or where Debian puts the newest; null where there is none. */
export function postgresPrograms(): string | null {
  if (process.env.POSTGRES_BIN) return process.env.POSTGRES_BIN;
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a)) : [];
  return versions.map((version) => join(DEBIAN, version, 'bin')).find((folder) => existsSync(join(folder, 'initdb'))) ?? null;
}

/**
 * A port that nobody listens on. It is below the ports that the system gives to outgoing connections, so that none of them
 * takes it while a server of the test is down.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 32_768);
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await once(server, 'listening').then(() => true, () => false);
    server.close();
    if (isFree) return port;
  }
}

export type Cluster = Awaited<ReturnType<typeof startCluster>>;

/** `pem` is a file with a key and a certificate, for TLS; `settings` are lines of postgresql.conf; `access` are lines of pg_hba.conf that come before "everybody on this machine". */
type ClusterOptions = { settings?: string[]; access?: string[]; pem?: string };

/** A real PostgreSQL server of the test's own, in a temporary folder. PostgreSQL refuses to run as root: then it runs as `postgres`. */
export async function startCluster({ settings = [], access = [], pem }: ClusterOptions = {}) {
  const programs = postgresPrograms();
  if (!programs) throw new Error('there is no PostgreSQL on this machine');
  const folder = mkdtempSync(join(tmpdir(), 'keyturn-pg-'));
  const data = join(folder, 'data');
  const port = await freePort();
  const asRoot = process.getuid?.() === 0;
  if (asRoot) {
    const [, , uid, gid] = execFileSync('getent', ['passwd', 'postgres']).toString().split(':');
    chownSync(folder, Number(uid), Number(gid));
  }
  chmodSync(folder, 0o700);
  const run = (program: string, ...args: string[]) => {
    const command = [join(programs, program), ...args];
    return asRoot ? execFileSync('runuser', ['-u', 'postgres', '--', ...command], { cwd: '/', stdio: 'pipe' }) : execFileSync(command[0]!, command.slice(1), { stdio: 'pipe' });
  };
  run('initdb', '-D', data, '-U', 'keyturn', '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync');
  writeFileSync(join(data, 'postgresql.auto.conf'), `port=${port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='${folder}'\nmax_connections=200\nfsync=off\n${settings.join('\n')}\n`);
  if (pem) {
    const copy = join(data, 'server.pem');
    writeFileSync(copy, readFileSync(pem), { mode: 0o600 });
    const { uid, gid } = statSync(data);
    chownSync(copy, uid, gid);
    appendFileSync(join(data, 'postgresql.auto.conf'), "ssl=on\nssl_cert_file='server.pem'\nssl_key_file='server.pem'\n");
  }
  const rules = join(data, 'pg_hba.conf');
  writeFileSync(rules, [...access, readFileSync(rules, 'utf8')].join('\n'));
  const control = (...args: string[]) => run('pg_ctl', '-D', data, '-w', '-t', '30', '-l', join(folder, 'log'), ...args);
  control('start');
  const signalAll = (signal: string) => {
    const [postmaster = ''] = readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n');
    const children = execFileSync('sh', ['-c', 'pgrep -P "$1" || true', 'sh', postmaster]).toString().split('\n').filter(Boolean);
    for (const pid of [postmaster, ...children]) execFileSync('sh', ['-c', `kill -s ${signal} ${pid} 2>/dev/null || true`]); // a child may have ended
  };
  return {
    port,
    /** What the server has logged so far. */
    log: () => readFileSync(join(folder, 'log'), 'utf8'),
    url: (database: string) => `postgres://keyturn@127.0.0.1:${port}/${database}`,
    /** As a crash would: without a shutdown. Does not wait for it. */
    restart: () => {
      const args = ['-D', data, '-w', '-t', '30', '-l', join(folder, 'log'), '-m', 'immediate', 'restart'];
      const command = asRoot ? 'runuser' : join(programs, 'pg_ctl');
      const rest = asRoot ? ['-u', 'postgres', '--', join(programs, 'pg_ctl'), ...args] : args;
      return once(spawn(command, rest, { cwd: '/', stdio: 'ignore' }), 'exit');
    },
    /** As a machine that hangs: connections stay open, and nothing answers. */
    freeze: () => signalAll('STOP'),
    thaw: () => signalAll('CONT'),
    stop: () => {
      if (!existsSync(folder)) return; // a test stopped it
      signalAll('CONT');
      control('stop', '-m', 'immediate');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Runs one statement on a server, as its owner. */
export async function query(url: string, text: string, params: unknown[] = []) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query<Record<string, unknown>>(text, params);
  } finally {
    await client.end();
  }
}
