import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

export type Cluster = Awaited<ReturnType<typeof startCluster>>;

/** A real PostgreSQL server of the test's own, in a temporary folder. PostgreSQL refuses to run as root: then it runs as `postgres`. */
export async function startCluster() {
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
  writeFileSync(join(data, 'postgresql.auto.conf'), `port=${port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='${folder}'\nmax_connections=200\nfsync=off\n`);
  const control = (...args: string[]) => run('pg_ctl', '-D', data, '-w', '-t', '30', '-l', join(folder, 'log'), ...args);
  control('start');
  const signalAll = (signal: string) => {
    const [postmaster = ''] = readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n');
    const children = execFileSync('sh', ['-c', 'pgrep -P "$1" || true', 'sh', postmaster]).toString().split('\n').filter(Boolean);
    for (const pid of [postmaster, ...children]) process.kill(Number(pid), `SIG${signal}`);
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
      signalAll('CONT');
      control('stop', '-m', 'immediate');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Runs one statement on a server, as its owner. */
export async function query(url: string, text: string) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query<Record<string, unknown>>(text);
  } finally {
    await client.end();
  }
}
