import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { Redis } from 'ioredis';
import { describe, expect, onTestFinished } from 'vitest';
import { freePort } from './postgres.ts';

const program = ['/usr/bin/redis-server', '/usr/bin/valkey-server'].find((path) => existsSync(path)) ?? '';
const PASSWORD = 'a password of Redis';

/** A suite that needs Redis. Where there is none it is skipped, and its name says why. */
export const describeWithRedis: (name: string, tests: () => void) => void = program
  ? (name, tests) => describe(name, tests)
  : (name, tests) => describe.skip(`${name} (skipped: there is neither /usr/bin/redis-server nor /usr/bin/valkey-server)`, tests);

export type RedisServer = Awaited<ReturnType<typeof startRedis>>;

/** A real Redis of the test's own, that keeps nothing. It can be killed and started again, on the same port. */
export async function startRedis(after: (stop: () => Promise<void>) => void = onTestFinished) {
  const port = await freePort();
  const url = `redis://:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/1`;
  const launch = async (password = PASSWORD) => launchRedis([
    '--port', `${port}`, '--bind', '127.0.0.1', '--requirepass', password, '--save', '', '--appendonly', 'no', '--dir', tmpdir(),
  ]);
  let child = await launch();
  const kill = () => killRedis(child);
  after(kill);
  return {
    url, port, kill,
    password: PASSWORD,
    start: async (password?: string) => { child = await launch(password); },
    /** Hangs: connections stay open, and new ones are accepted by the system, but nothing is answered. */
    stop: () => child.kill('SIGSTOP'),
    resume: () => child.kill('SIGCONT'),
    /** What one command answers. */
    async command(name: string, ...args: string[]): Promise<unknown> {
      const client = new Redis(url);
      try {
        return await client.call(name, ...args);
      } finally {
        client.disconnect();
      }
    },
  };
}

/** The same with arguments of the test's own. */
export async function startRedisWith(args: string[]) {
  const child = await launchRedis(args);
  onTestFinished(() => killRedis(child));
}

/** Resolves when Redis accepts connections. */
async function launchRedis(args: string[]) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`Redis ended with ${code}: ${said}`)));
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('Ready to accept connections')) resolve();
    });
  });
  return child;
}

async function killRedis(child: ChildProcess) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL'); // ends a stopped process, too
  await once(child, 'exit');
}

/**
 * Runs it until no copy lost Redis meanwhile: on a busy machine Redis may take longer to answer than a copy waits. Returns
 * what the last run returned, and throws what it threw.
 */
export async function undisturbed<Result>(copies: { output(): string }[], run: () => Promise<Result>): Promise<Result> {
  const count = (event: string) => copies.map((copy) => copy.output().split(`"event":"${event}"`).length).join();
  for (;;) {
    const before = count('redis_lost');
    const [outcome] = await Promise.allSettled([run()]);
    if (count('redis_lost') !== before) await expect.poll(() => count('redis_back')).toBe(count('redis_lost'));
    else if (outcome.status === 'fulfilled') return outcome.value;
    else throw outcome.reason;
  }
}
