import { spawn } from 'node:child_process';
import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { inject, onTestFinished } from 'vitest';
import { databaseFor, temporaryFolder, TEST_ENVIRONMENT } from './app.ts';

/** The dialect of the test's project. */
export const DIALECT = inject('postgres') === undefined ? 'sqlite' : 'pg';
type Journal = { entries: { idx: number; version: string; when: number; tag: string; breakpoints: boolean }[] };

/** A folder with a Keyturn that has one more migration, of these statements. */
export function makeNewerKeyturn(statements: string[]): string {
  const folder = temporaryFolder();
  for (const part of ['src', 'drizzle', 'package.json']) cpSync(part, join(folder, part), { recursive: true });
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
  const path = join(folder, 'drizzle', DIALECT, 'meta/_journal.json');
  const journal = JSON.parse(readFileSync(path, 'utf8')) as Journal;
  const last = journal.entries.at(-1)!;
  journal.entries.push({ ...last, idx: last.idx + 1, when: last.when + 1, tag: '9999_newer' });
  writeFileSync(path, JSON.stringify(journal));
  writeFileSync(join(folder, 'drizzle', DIALECT, '9999_newer.sql'), statements.join('\n--> statement-breakpoint\n'));
  return folder;
}

/** Starts a server's process and waits for nothing; it is gone after the test. */
export async function launch(env: Record<string, string>, cwd = '.') {
  const child = spawn(process.execPath, ['src/server.ts'], {
    cwd, stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, ...TEST_ENVIRONMENT, LOG_LEVEL: 'info', ...(await databaseFor(env.DATA_DIR!)), ...env },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => { output += chunk.toString(); });
  const ended = new Promise<number | null>((done) => { child.once('close', (code) => done(code)); });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return {
    output: () => output,
    /** Resolves with the exit code. */
    ended,
    /** Holds the process where it is, with its locks; `resume` lets it go on. */
    pause: () => child.kill('SIGSTOP'),
    resume: () => child.kill('SIGCONT'),
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
