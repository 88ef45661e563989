#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { runCommand } from './cli/run.ts';

process.env.UV_THREADPOOL_SIZE ??= String(Math.max(4, availableParallelism())); // an import hashes on all cores; Node.js has four threads
process.umask(0o077); // what it writes is for its own user only
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1)); // unfinished files are removed
process.exitCode = loadDotEnv() ? await runCommand(process.argv.slice(2), process.env, process) : 2;

function loadDotEnv(): boolean {
  try {
    if (existsSync('.env')) process.loadEnvFile();
    return true;
  } catch (error) {
    console.error(`keyturn: .env cannot be read (${(error as NodeJS.ErrnoException).code})`);
    return false;
  }
}
