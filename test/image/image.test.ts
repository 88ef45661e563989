import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';

/*
 * CONTAINER_TOOL names a program that answers to
 *   build DIR TAG
 *   run TAG [-e NAME=VALUE]… [-v HOSTDIR:DIR]… [-- COMMAND…]
 * and runs the container in the foreground, on this machine's network, to end with its exit code. It either is an
 * ancestor of the container's process or passes SIGTERM on to it, as `docker run --network host` does.
 */
const tool = process.env.CONTAINER_TOOL ?? '';
const TAG = 'keyturn:image-test';
/** What the tool might hand on to the container. */
const ENVIRONMENT = { ...process.env, PORT: undefined, DATABASE_URL: undefined };
const ROOT = join(import.meta.dirname, '../..');
const DOCKERFILE = readFileSync(join(ROOT, 'Dockerfile'), 'utf8');
const JOHN = { email: 'john@example.com', password: 'correct horse battery' };

describe.skipIf(!tool)(`the container image${tool ? '' : ' (skipped: CONTAINER_TOOL is not set)'}`, () => {
  beforeAll(async () => {
    const { status, output } = await finish(['build', ROOT, TAG], 900_000);
    if (status !== 0) throw new Error(`the image cannot be built:\n${output}`);
  }, 910_000);

  test('serves the API and its documentation, and no file of its own', async () => {
    const { get, post } = await startContainer();
    for (const path of ['/health/live', '/health/ready', '/docs', '/docs/static/swagger-ui-bundle.js', '/redoc', '/redoc/redoc.js']) {
      expect((await get(path)).status, path).toBe(200);
    }
    expect(JSON.parse((await get('/openapi.json')).body)).toMatchObject({ openapi: '3.1.0' });
    for (const path of ['/.git/HEAD', '/.env', '/package.json', '/src/server.ts', '/data/keyturn.db']) {
      expect((await get(path)).status, path).toBe(404);
    }
    const answer = await post('/auth/register', JOHN);
    expect(answer.status).toBe(201);
    expect(answer.headers.get('set-cookie')).toMatch(/^__Host-refresh_token=.*; Secure/);
  });

  test('keeps users, sessions and keys in /data over a restart', async () => {
    const first = await startContainer();
    const { access_token: token } = JSON.parse((await first.post('/auth/register', JOHN)).body) as { access_token: string };
    expect(await first.stop()).toBe(0);
    await expect(first.get('/health/live')).rejects.toThrow();

    const second = await startContainer({ folder: first.folder });
    expect((await second.post('/auth/login', JOHN)).status).toBe(200);
    expect((await second.get('/users/me', { authorization: `Bearer ${token}` })).status).toBe(200);
  });

  test('ends within a second of SIGTERM, with code 0, while an idle connection is open', async () => {
    const { port, stop, terminate } = await startContainer();
    const idle = connect(port, '127.0.0.1').on('error', () => {});
    onTestFinished(() => void idle.destroy());
    idle.write('GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n');
    await once(idle, 'data');

    expect(DOCKERFILE, 'no shell stands between').toMatch(/^CMD \["node", "src\/server\.ts"\]$/m);
    expect(await Promise.race([terminate().then(() => 'ended'), sleep(1000, 'still running')])).toBe('ended');
    expect(await stop()).toBe(0);
  });

  test('runs as the user 1000, who cannot write to the server’s code', async () => {
    expect((await runCommand(['id', '-u'])).output).toBe('1000\n');
    expect((await runCommand(['find', '/app', '-writable'])).output).toBe('');
  });

  test('has a folder for the database and one for backups, which are the server’s alone; a new volume takes that over', async () => {
    expect((await runCommand(['stat', '--format', '%n %u:%g %a', '/data', '/backups'])).output).toBe('/data 1000:1000 700\n/backups 1000:1000 700\n');
    const ready = `node -e 'fetch("http://127.0.0.1:" + process.env.PORT + "/health/ready").then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))'`;
    const script = `node src/server.ts >&2 & until ${ready}; do sleep 0.2; done; keyturn backup /backups/copy.db >&2; kill $!; wait; stat --format '%u %a' /backups/copy.db`;
    expect((await runCommand(['sh', '-c', script], { PORT: String(await freePort()) })).output).toBe('1000 600\n');
  });

  test('writes nowhere but to /data, so that the root file system may be read-only', async () => {
    const serveThenTell = 'touch /tmp/start && timeout 100 node src/server.ts >&2; find / -xdev -newer /tmp/start 2>/dev/null; true';
    const { get, post, stop, output } = await startContainer({ command: ['sh', '-c', serveThenTell] });
    expect((await post('/auth/register', JOHN)).status).toBe(201);
    expect((await post('/auth/login', JOHN)).status).toBe(200);
    expect((await get('/docs')).status).toBe(200);
    expect(await stop()).toBe(0);
    expect(output.stdout).toBe('/data\n');
  });

  test('its health check passes when the server is ready, and fails when it is not there', async () => {
    const command = /^HEALTHCHECK [^[]*CMD (\[.*\])$/m.exec(DOCKERFILE)?.[1];
    const check = async (port: number) => (await runCommand(JSON.parse(command ?? '') as string[], { PORT: String(port) })).status;
    const { port } = await startContainer();
    expect(await check(port)).toBe(0);
    expect(await check(await freePort())).toBe(1);
  });

  test('has the operator’s command in its PATH', async () => {
    const { status, output } = await runCommand(['keyturn', 'help']);
    expect([status, output]).toEqual([0, expect.stringContaining('copy the live SQLite database')]);
  });

  test('holds the server and what it needs at run time, nothing else', async () => {
    const files = (await runCommand(['find', '/app', '-type', 'f', '-printf', '%P\\n'])).output.trim().split('\n');
    expect([...new Set(files.map((file) => file.split('/')[0]))].sort()).toEqual(['LICENSE', 'drizzle', 'node_modules', 'package.json', 'src']);

    const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as { packages: Record<string, { dev?: true; devOptional?: true }> };
    const present = new Set(files.filter((file) => file.endsWith('/package.json')).map(dirname));
    const fromDevelopment = Object.entries(packages).flatMap(([path, { dev, devOptional }]) => ((dev ?? devOptional) && present.has(path) ? [path] : []));
    expect(fromDevelopment).toEqual(['node_modules/redoc']);
    expect(files.filter((file) => file.startsWith('node_modules/redoc/')).sort()).toEqual([
      'node_modules/redoc/LICENSE', 'node_modules/redoc/bundles/redoc.standalone.js',
      'node_modules/redoc/bundles/redoc.standalone.js.LICENSE.txt', 'node_modules/redoc/package.json',
    ]);

    const kibibytes = Number.parseInt((await runCommand(['du', '-s', '-k', '--apparent-size', '/app'])).output, 10);
    expect(kibibytes).toBeLessThan(30 * 1024);
  });
});

/** Runs the tool to its end, which it must reach in time. */
async function finish(args: string[], timeout = 60_000): Promise<{ status: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = execFile(tool, args, { env: ENVIRONMENT, timeout, maxBuffer: 64 * 1024 * 1024 }, (error, stdout) => {
      resolve({ status: child.exitCode, output: error ? `${stdout}\n${error.message}` : stdout });
    });
  });
}

async function runCommand(command: string[], env: Record<string, string> = {}) {
  return finish(['run', TAG, ...options(env), '--', ...command]);
}

function options(env: Record<string, string>): string[] {
  return Object.entries(env).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
}

/** The image with the documentation on, as in the compose file, without a delay at the end, and with a folder for /data. It is gone, and so is the folder, after the test. */
async function startContainer({ folder = dataFolder(), command = [] as string[] } = {}) {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const container = spawn(tool, ['run', TAG, ...options({ PORT: String(port), DOCS: 'true', SHUTDOWN_DELAY_SECONDS: '0' }), '-v', `${folder}:/data`, ...(command.length > 0 ? ['--', ...command] : [])], { env: ENVIRONMENT });
  const exited = once(container, 'close').then(([code]) => code as number | null);
  const output = { stdout: '', stderr: '' };
  container.stdout.on('data', (chunk: Buffer) => { output.stdout += chunk.toString(); });
  container.stderr.on('data', (chunk: Buffer) => { output.stderr += chunk.toString(); });
  onTestFinished(async () => {
    await stop();
    container.kill('SIGKILL');
  });

  const get = (path: string, headers: Record<string, string> = {}) => request(url + path, { headers });
  const post = (path: string, body: object) => request(url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  const ready = async () => container.exitCode !== null || (await get('/health/ready').catch(() => undefined))?.status === 200;
  let pid: number | undefined;

  /** Resolves when the server is gone. */
  const terminate = async () => {
    const server = (pid ??= findServer(container));
    if (isAlive(server)) process.kill(server, 'SIGTERM');
    await until(() => !isAlive(server), 15_000).catch(() => process.kill(server, 'SIGKILL'));
  };

  /** Resolves with the container's exit code. */
  const stop = async () => {
    await terminate();
    return Promise.race([exited, sleep(15_000, 'still running', { ref: false })]);
  };

  await until(ready, 60_000);
  if (container.exitCode !== null) throw new Error(`the container ended:\n${output.stdout}${output.stderr}`);
  pid = findServer(container);
  return { port, folder, output, get, post, terminate, stop };
}

function dataFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'keyturn-image-'));
  chmodSync(folder, 0o777);
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The server among the tool's descendants; where a daemon runs it, the tool, which passes signals on. */
function findServer({ pid: ancestor }: ChildProcess): number {
  if (ancestor === undefined) throw new Error(`${tool} cannot be run`);
  const processes = new Map(execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8' }).split('\n').flatMap((line) => {
    const [, pid, parent, command = ''] = /^ *(\d+) +(\d+) (.*)$/.exec(line) ?? [];
    return pid ? [[Number(pid), { parent: Number(parent), command }] as const] : [];
  }));
  const descends = (pid: number): boolean => pid === ancestor || (processes.has(pid) && descends(processes.get(pid)!.parent));
  const servers = [...processes].filter(([pid, { command }]) => /^(\S*\/)?node src\/server\.ts$/.test(command) && descends(pid));
  return servers[0]?.[0] ?? ancestor;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** The whole answer: one whose body nobody reads would hold the server up when it ends. */
async function request(url: string, init: RequestInit) {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(10_000) });
  return { status: response.status, headers: response.headers, body: await response.text() };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function until(condition: () => boolean | Promise<boolean>, timeoutMs: number) {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms`);
    await sleep(20);
  }
}
