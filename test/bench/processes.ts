import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** The server has one core and the load generator the other, so that neither takes the other's time. */
export const SERVER_CORE = '0';
export const LOAD_CORE = '1';
const COMPILE_CACHE = fileURLToPath(new URL('../../src/compile-cache.js', import.meta.url));
const CLOCK_TICKS = 100;
const IDLE_MS = 100;
const IDLE_SHARE = 0.2;
const START_TIMEOUT_MS = 60_000;

export type Process = Awaited<ReturnType<typeof startProcess>>;

export function has(program: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
}

/** Starts a server on its core, with the options of `npm start`, and waits until it listens. Its log goes to a file in the folder. */
export async function startProcess(file: string, folder: string, env: Record<string, string> = {}) {
  const log = join(folder, `${file.replace(/\W+/g, '-')}.log`);
  const sink = openSync(log, 'w');
  const child = spawn('taskset', ['-c', SERVER_CORE, process.execPath, '--max-semi-space-size=4', '--import', COMPILE_CACHE, fileURLToPath(new URL(file, import.meta.url)), folder], {
    env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', sink, 'inherit'],
  });
  process.once('exit', () => child.kill('SIGKILL'));
  const pid = child.pid ?? 0;
  const deadline = Date.now() + START_TIMEOUT_MS;
  let url: string | undefined;
  while (url === undefined) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`${file} did not start: ${readFileSync(log, 'utf8')}`);
    url = /"address":"([^"]+)"/.exec(readFileSync(log, 'utf8'))?.[1];
    await sleep(5);
  }
  return {
    url, pid,
    cpuSeconds: () => cpuSeconds(pid),
    /** Resolves when the process has nothing more to do. */
    idle: async () => {
      for (let before = -1, now = cpuSeconds(pid); now - before > IDLE_SHARE * IDLE_MS / 1000; before = now, now = cpuSeconds(pid)) await sleep(IDLE_MS);
    },
    rssMegabytes: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024,
    stop: async () => {
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

/** CPU time of all threads of a process so far. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}
