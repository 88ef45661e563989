import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, onTestFinished } from 'vitest';
import { temporaryFolder } from './app.ts';
import { readCompose } from './compose.ts';

const PROGRAM = '/usr/sbin/nginx';

/** A suite that needs nginx. Where there is none it is skipped, and its name says why. */
export const describeWithNginx: (name: string, tests: () => void) => void = existsSync(PROGRAM)
  ? (name, tests) => describe(name, tests)
  : (name, tests) => describe.skip(`${name} (skipped: there is no ${PROGRAM})`, tests);

/** The compose file's own configuration, on this port, before these servers. Debian's nginx cannot resolve a name anew, and finds no Docker here. */
export function proxyOfCompose(port: number, urls: string[]): string {
  return readCompose().configs.proxy!.content.replace('listen 80;', `listen 127.0.0.1:${port};`)
    .replace(/^ *server copies:8000(.*) resolve;$/m, (_line, options: string) => urls.map((url) => `server ${new URL(url).host}${options};`).join('\n'));
}

/** A real nginx with these lines of configuration (`upstream` and `server` blocks), which listen on the port; it is gone after the test. */
export async function startNginx(blocks: string, port: number) {
  const folder = temporaryFolder();
  const file = join(folder, 'nginx.conf');
  mkdirSync(join(folder, 'temp'));
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/temp/${name};`).join('\n');
  const user = process.getuid?.() === 0 ? 'user root;' : '';
  const accessLog = join(folder, 'access.log');
  writeFileSync(file, `daemon off;\n${user}\npid ${folder}/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log ${accessLog};\n${temp}\n${blocks}\n}\n`);
  execFileSync(PROGRAM, ['-t', '-q', '-c', file, '-p', folder], { stdio: 'pipe' });
  const child = spawn(PROGRAM, ['-c', file, '-p', folder], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => void (said += chunk.toString()));
  onTestFinished(async () => {
    if (child.exitCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
  });
  while (!(await answers(port))) {
    if (child.exitCode !== null) throw new Error(`nginx ended with ${child.exitCode}: ${said}`);
    await sleep(20);
  }
  return { accessLog, errors: () => said };
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const connected = await Promise.race([once(socket, 'connect').then(() => true), once(socket, 'error').then(() => false)]).catch(() => false);
  socket.destroy();
  return connected;
}
