import { once } from 'node:events';
import { expect, test } from 'vitest';
import { PASSWORD, temporaryFolder } from '../support/app.ts';
import { startServer } from '../support/server.ts';
import { poolSizeFor } from '../../src/thread-pool.ts';

/** Throws outside of every request, when it is told to. */
const BOMB = 'process.on(`SIGUSR2`,()=>{throw%20new%20Error(`boom`)})';

test('an error that nobody catches is one line of the log, and ends the process with exit code 1 (ASVS 16.5.4)', async () => {
  const server = await startServer({ DATA_DIR: temporaryFolder(), NODE_OPTIONS: `--import=data:text/javascript,${BOMB}` });
  expect(await server.stop('SIGUSR2')).toBe(1);
  const crashes = server.output().split('\n').filter((line) => line.includes('"event":"crash"')).map((line) => JSON.parse(line) as object);
  expect(crashes).toEqual([expect.objectContaining({ level: 60, err: expect.objectContaining({ message: 'boom', stack: expect.any(String) }) })]);
});

test('when nobody reads the log any more the process ends with exit code 1, and says why on standard error', async () => {
  const server = await startServer({ DATA_DIR: temporaryFolder() });
  server.child.stdout.destroy();
  const ended = once(server.child, 'exit');
  await server.post('/auth/register', { email: 'john@example.com', password: PASSWORD }).catch(() => null);
  expect((await ended)[0]).toBe(1);
  await expect.poll(() => server.output()).toContain('The log cannot be written (EPIPE): the server ends.');
});

test('the log is all that the process writes: lines of JSON on standard output, nothing on standard error (ASVS 16.2.3)', async () => {
  const server = await startServer({ DATA_DIR: temporaryFolder() });
  const errors: string[] = [];
  server.child.stderr.on('data', (chunk: Buffer) => errors.push(chunk.toString()));
  await server.post('/auth/register', { email: 'john@example.com', password: PASSWORD });
  await server.post('/auth/login', { email: 'john@example.com', password: 'wrong' });
  expect(await server.stop('SIGTERM')).toBe(0);
  expect(errors).toEqual([]);
  const events = server.output().split('\n').filter((line) => line.startsWith('{')).map((line) => (JSON.parse(line) as { event?: string }).event);
  expect(events).toEqual(expect.arrayContaining(['started', 'registered', 'login_refused', 'stopping']));
});

test('the thread pool has two threads more than there are hashes at a time (ASVS 15.4.4)', () => {
  expect([1, 2, 8, 64].map(poolSizeFor)).toEqual([4, 4, 10, 66]);
});
