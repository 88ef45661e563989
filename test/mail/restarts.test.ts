import { join } from 'node:path';
import { expect, test } from 'vitest';
import { LEASE_MS } from '../../src/core/postman.ts';
import { temporaryFolder } from '../support/app.ts';
import { cliHere } from '../support/cli.ts';
import { startServer } from '../support/server.ts';
import { type Received, startMailApp, startSmtp } from '../support/smtp.ts';

const SECRET_KEY = 'aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA';
const pause = (ms: number) => new Promise((resolve) => { setTimeout(resolve, ms); });

test('the process is killed between the request and the sending: after the next start the mail arrives, once, and its link works', async () => {
  const smtp = await startSmtp();
  const env = { DATA_DIR: temporaryFolder(), SECRET_KEY, SMTP_URL: smtp.url, MAIL_FROM: 'no-reply@example.com', APP_URL: 'https://app.example.com' };
  const resets = () => smtp.received.filter(({ subject }) => subject.startsWith('Choose a new password'));
  const before = await startMailApp(smtp, env);
  await before.register();
  await before.deliver();
  await before.app.close();
  const killed = await startServer(env);
  expect((await killed.post('/auth/forgot-password', { email: 'john@example.com' })).status).toBe(200);
  await killed.stop('SIGKILL');
  expect(resets()).toEqual([]);
  const next = await startServer(env);
  await expect.poll(resets).toHaveLength(1);
  const [{ token }] = resets() as [Received];
  expect((await next.post('/auth/change-password', { token, new_password: 'another long passphrase' })).status).toBe(200);
  expect((await next.post('/auth/login', { email: 'john@example.com', password: 'another long passphrase' })).status).toBe(200);
  expect(resets()).toHaveLength(1);
});

test('the process is killed in the middle of the sending: the mail arrives after the lease, under the same id', async () => {
  const ids: string[] = [];
  const smtp = await startSmtp({ data: async ({ headers }) => { ids.push(headers['message-id']!); await pause(60_000); } });
  const DATA_DIR = temporaryFolder();
  const before = await startMailApp({ url: 'smtp://127.0.0.1:1' }, { DATA_DIR, SECRET_KEY });
  const { token } = await before.queueLink();
  await before.app.close();
  const server = await startServer({ DATA_DIR, SECRET_KEY, SMTP_URL: smtp.url, MAIL_FROM: 'no-reply@example.com' });
  await expect.poll(() => ids.length).toBe(1);
  await server.stop('SIGKILL');
  smtp.change({});
  const after = await startMailApp(smtp, { DATA_DIR, SECRET_KEY });
  await after.deliver();
  expect(smtp.received).toEqual([]);
  after.clock.now += LEASE_MS;
  await after.deliver();
  expect(smtp.received).toMatchObject([{ token, headers: { 'message-id': ids[0] } }]);
});

test('a server asked to stop ends within seconds, though its mail server hangs; nothing is lost', async () => {
  let asked = 0;
  const smtp = await startSmtp({ data: () => { asked += 1; return pause(60_000); } });
  const DATA_DIR = temporaryFolder();
  const before = await startMailApp({ url: 'smtp://127.0.0.1:1' }, { DATA_DIR, SECRET_KEY });
  const { token } = await before.queueLink();
  await before.app.close();
  const server = await startServer({ DATA_DIR, SECRET_KEY, SMTP_URL: smtp.url, MAIL_FROM: 'no-reply@example.com' });
  await expect.poll(() => asked).toBe(1);
  expect(await server.stop('SIGTERM')).toBe(0);
  smtp.change({});
  const after = await startMailApp(smtp, { DATA_DIR, SECRET_KEY });
  after.clock.now += 10_000;
  await after.deliver();
  expect(smtp.received).toMatchObject([{ token }]);
});

test('a mail in the outbox goes with a backup, and with a move to another database', async () => {
  const smtp = await startSmtp();
  const [from, backup, moved] = [temporaryFolder(), temporaryFolder(), temporaryFolder()];
  const before = await startMailApp({ url: 'smtp://127.0.0.1:1' }, { DATA_DIR: from, SECRET_KEY });
  const { token } = await before.queueLink();
  await before.app.close();
  const file = join(backup, 'copy.db');
  expect(await cliHere(['backup', file], { DATA_DIR: from, SECRET_KEY })).toMatchObject({ code: 0 });
  expect(await cliHere(['restore', file, '--keep-sessions'], { DATA_DIR: backup, SECRET_KEY })).toMatchObject({ code: 0 });
  expect(await cliHere(['move', '--to', `sqlite:${join(moved, 'keyturn.db')}`], { DATA_DIR: from, SECRET_KEY })).toMatchObject({ code: 0 });
  for (const DATA_DIR of [backup, moved]) {
    const { clock, deliver } = await startMailApp(smtp, { DATA_DIR, SECRET_KEY });
    clock.now += 60_000;
    await deliver();
    expect(smtp.received.splice(0)).toMatchObject([{ token }]);
  }
});
