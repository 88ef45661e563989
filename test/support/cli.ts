import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { runCommand } from '../../src/cli/run.ts';
import { TEST_ENVIRONMENT } from './app.ts';

export type Ended = { code: number | null; stdout: string; stderr: string };

/** `keyturn` as a process of its own; `child` may be killed. */
export function spawnCli(args: string[], env: Record<string, string>) {
  const child = spawn(process.execPath, ['--import', './src/compile-cache.js', 'src/cli.ts', ...args], { env: { PATH: process.env.PATH, ...TEST_ENVIRONMENT, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const out = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => void (out.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => void (out.stderr += chunk.toString()));
  const ended: Promise<Ended> = once(child, 'close').then(([code]) => ({ code: code as number | null, ...out }));
  return { child, ended };
}

export const cli = (args: string[], env: Record<string, string>): Promise<Ended> => spawnCli(args, env).ended;

/** The same in this process, which is quicker. */
export async function cliHere(args: string[], env: Record<string, string>, isTTY = false): Promise<Ended> {
  const out = { stdout: '', stderr: '' };
  const stream = (name: 'stdout' | 'stderr') => ({ isTTY, write: (text: string) => void (out[name] += text) });
  const code = await runCommand(args, { ...TEST_ENVIRONMENT, ...env }, { stdout: stream('stdout'), stderr: stream('stderr') });
  return { code, ...out };
}
