import { expect, onTestFinished, test } from 'vitest';
import { anyone, PASSWORD, temporaryFolder } from '../support/app.ts';
import { describeWithNginx, proxyOfCompose, startNginx } from '../support/nginx.ts';
import { freePort } from '../support/postgres.ts';
import { type Server, startServer, type Tokens } from '../support/server.ts';

const ROUNDS = 10;
const CLIENTS = 12;

/** Signs up, and then signs in, refreshes, reads and signs out until the test ends; yields what was not answered 2xx. */
async function startClients(url: string) {
  const failures: string[] = [];
  const state = { going: true, answered: 0 };
  const isGoing = () => state.going;
  const send = async (path: string, body?: object, accessToken?: string): Promise<Tokens> => {
    try {
      const answer = await fetch(url + path, {
        method: body ? 'POST' : 'GET',
        headers: { ...(body && { 'content-type': 'application/json' }), ...(accessToken && { authorization: `Bearer ${accessToken}` }) },
        ...(body && { body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      if (!answer.ok) failures.push(`${new Date().toISOString()} ${path}: ${answer.status} ${text.slice(0, 30)}`);
      state.answered += 1;
      return JSON.parse(text) as Tokens;
    } catch (error) {
      failures.push(`${path}: ${String((error as Error).cause ?? error)}`);
      return { access_token: '', refresh_token: '' };
    }
  };
  const live = async () => {
    const credentials = { email: anyone(), password: PASSWORD };
    await send('/auth/register', credentials);
    while (isGoing()) {
      let { refresh_token } = await send('/auth/login', credentials);
      for (let time = 0; time < 3 && isGoing(); time += 1) {
        const tokens = await send('/auth/refresh', { refresh_token });
        ({ refresh_token } = tokens);
        await send('/users/me', undefined, tokens.access_token);
      }
      await send('/auth/logout', { refresh_token });
    }
  };
  const clients = Array.from({ length: CLIENTS }, live);
  const end = async () => {
    state.going = false;
    await Promise.all(clients);
  };
  onTestFinished(end);
  return { failures, state, end };
}

/** Whether the proxy has sent something to this process. */
const isUsed = ({ output }: Server) => output().includes('"route":"/auth/refresh"');

describeWithNginx('copies behind the proxy of the compose file', () => {
  test(`${ROUNDS} rolling restarts under load: every request is answered 2xx`, { timeout: 300_000 }, async () => {
    const folder = temporaryFolder();
    const ports = [await freePort(), await freePort()];
    const start = (port: number) => startServer({ DATA_DIR: folder, HOST: '127.0.0.1', PORT: String(port), SHUTDOWN_DELAY_SECONDS: '0.5' });
    const copies = [await start(ports[0]!), await start(ports[1]!)];
    const port = await freePort();
    const nginx = await startNginx(proxyOfCompose(port, copies.map(({ url }) => url)), port);
    const { failures, state, end } = await startClients(`http://127.0.0.1:${port}`);
    for (let round = 0; round < ROUNDS; round += 1) {
      const index = round % 2;
      for (const copy of copies) await expect.poll(() => isUsed(copy), { timeout: 60_000 }).toBe(true);
      expect([await copies[index]!.stop('SIGTERM'), failures], nginx.errors()).toEqual([0, []]);
      copies[index] = await start(ports[index]!);
    }
    await end();
    expect(failures).toEqual([]);
    expect(state.answered).toBeGreaterThan(ROUNDS * CLIENTS);
  });
});
