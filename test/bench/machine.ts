import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { LOAD_CORE, SERVER_CORE } from './processes.ts';
import type { Options } from './rows/row.ts';

/** What was measured on, and how. */
export function describeMachine({ rounds, seconds, users }: Options): string {
  const { dependencies } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { dependencies: Record<string, string> };
  const versions = ['fastify', '@fastify/jwt', 'better-sqlite3', 'argon2'].map((name) => `${name} ${dependencies[name] ?? ''}`);
  const wrk = firstLine('wrk', '-v');
  return `${cpus()[0]?.model.trim() ?? ''}, ${availableParallelism()} cores, ${Math.round(totalmem() / 2 ** 30)} GB; Linux ${firstLine('uname', '-r')}; Node.js ${process.versions.node}, ${versions.join(', ')}; ${wrk}.
Servers on core ${SERVER_CORE}, load on core ${LOAD_CORE}; ${rounds} interleaved rounds of ${seconds} s, 32 connections; ${users.toLocaleString('en-US')} users in the large database.`;
}

function firstLine(program: string, ...args: string[]): string {
  try {
    return execFileSync(program, args, { stdio: ['ignore', 'pipe', 'ignore'] }).toString().split('\n')[0]?.split(' [')[0] ?? '';
  } catch (error) {
    return String((error as { stdout?: Buffer }).stdout ?? '').split('\n')[0]?.split(' [')[0] ?? '';
  }
}
