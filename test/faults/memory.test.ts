import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { PASSWORD, temporaryFolder } from '../support/app.ts';
import { type Server, startServer } from '../support/server.ts';

/** One hash takes 384 MiB here, which the kernel gives or refuses: the accelerator's allocator is to reserve nothing. */
const ENV = {
  MIMALLOC_ARENA_RESERVE: '0', MIMALLOC_PURGE_DELAY: '0',
  ARGON2_MEMORY_KIB: String(384 * 1024), ARGON2_TIME_COST: '1', RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1000', LOGIN_ATTEMPTS_LIMIT: '5',
};
const hasPrlimit = process.platform === 'linux' && spawnSync('prlimit', ['--version']).status === 0;

/** Leaves the process 160 MiB of address space, and takes the limit away again. */
function limitMemory({ child }: Server) {
  const [, kib] = /^VmSize:\s+(\d+) kB/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8')) ?? [];
  const limit = (bytes: number | string) => execFileSync('prlimit', ['--pid', String(child.pid), `--as=${bytes}:`]);
  limit(Number(kib) * 1024 + 160 * 1024 * 1024);
  return () => limit('unlimited');
}

async function answerOf(server: Server, email: string, password: string) {
  const answer = await server.post('/auth/login', { email, password });
  return [answer.status, answer.headers.get('retry-after'), ((await answer.json()) as { code?: string }).code];
}

test.skipIf(!hasPrlimit)('without memory for a hash everybody is answered 503, no wrong guess is counted, and with memory all is as before', async () => {
  const env = { DATA_DIR: temporaryFolder(), ...ENV };
  const SHORT = [503, '2', 'hash_not_computed'];
  const WRONG = [401, null, 'invalid_credentials'];
  const register = async (server: Server, email: string) => (await server.post('/auth/register', { email, password: PASSWORD })).status;
  const before = await startServer(env);
  for (const email of ['john@example.com', 'fresh@example.com']) expect(await register(before, email)).toBe(201);
  const guessed = ['john@example.com', 'nobody@example.com'];
  for (const email of guessed) for (let times = 0; times < 4; times += 1) expect(await answerOf(before, email, 'wrong')).toEqual(WRONG);
  await before.stop('SIGTERM');

  const server = await startServer(env); // one that keeps no memory of an earlier hash
  const free = limitMemory(server);
  for (const email of [...guessed, 'fresh@example.com', 'other@example.com']) {
    for (const password of ['wrong', PASSWORD, 'wrong']) expect([email, await answerOf(server, email, password)]).toEqual([email, SHORT]);
  }
  expect(await register(server, 'late@example.com')).toBe(503);
  free();

  for (const email of guessed) {
    expect([email, await answerOf(server, email, 'wrong')]).toEqual([email, WRONG]); // the fifth; one more is too many
    expect([email, await answerOf(server, email, 'wrong')]).toEqual([email, [429, expect.any(String), 'too_many_attempts']]);
  }
  expect(await answerOf(server, 'fresh@example.com', PASSWORD)).toEqual([200, null, undefined]);
  expect(await answerOf(server, 'other@example.com', PASSWORD)).toEqual(WRONG);
  expect(await register(server, 'late@example.com')).toBe(201);
});
