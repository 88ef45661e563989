import { Agent, request as send } from 'node:http';
import { expect, test } from 'vitest';
import { anyone, PASSWORD, temporaryFolder } from '../support/app.ts';
import { startServer, tokensIn } from '../support/server.ts';

const start = (seconds: string) => startServer({ DATA_DIR: temporaryFolder(), HOST: '127.0.0.1', SHUTDOWN_DELAY_SECONDS: seconds });
const CREDENTIALS = { email: 'john@example.com', password: PASSWORD };

test('after SIGTERM the server is not ready, and serves on for SHUTDOWN_DELAY_SECONDS', async () => {
  const server = await start('300');
  expect((await server.get('/health/ready')).status).toBe(200);
  server.child.kill('SIGTERM');
  await expect.poll(async () => (await server.get('/health/ready')).status).toBe(503);
  expect(await (await server.get('/health/ready')).json()).toMatchObject({ code: 'draining' });
  expect((await server.get('/health/live')).status).toBe(200);
  const { access_token, refresh_token } = await tokensIn(await server.post('/auth/register', CREDENTIALS));
  expect((await server.post('/auth/refresh', { refresh_token })).status).toBe(200);
  expect((await server.get('/users/me', access_token)).status).toBe(200);
});

/** Sends one request after another on a connection of its own; yields why it ended, and how many were answered. */
async function stayBusy(url: string): Promise<{ end: string; answered: number }> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const body = JSON.stringify({ email: anyone(), password: PASSWORD });
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  const post = (path: string) => new Promise<number>((resolve, reject) => {
    send(url + path, { method: 'POST', agent, headers }, (answer) => {
      answer.resume().once('end', () => { resolve(answer.statusCode ?? 0); }).once('error', reject);
    }).once('error', reject).end(body);
  });
  let answered = 0;
  try {
    for (let path = '/auth/register'; ; path = '/auth/login') {
      const status = await post(path);
      if (status >= 300) return { end: String(status), answered };
      answered += 1;
    }
  } catch (error) {
    return { end: (error as NodeJS.ErrnoException).code ?? String(error), answered };
  } finally {
    agent.destroy();
  }
}

test('ten stops under load: no request that was sent stays without its answer; only new connections are refused', async () => {
  for (let round = 0; round < 10; round += 1) {
    const server = await start('0.2');
    const clients = Array.from({ length: 24 }, async () => stayBusy(server.url));
    await expect.poll(() => server.output().split('signed_in').length).toBeGreaterThan(48);
    expect(await server.stop('SIGTERM')).toBe(0);
    const ends = await Promise.all(clients);
    expect(ends.filter(({ answered }) => answered === 0)).toEqual([]);
    expect(new Set(ends.map(({ end }) => end))).toEqual(new Set(['ECONNREFUSED']));
  }
});
