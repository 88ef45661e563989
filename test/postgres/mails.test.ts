import { expect, onTestFinished, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { openStore } from '../../src/store/store.ts';
import { databaseFor, temporaryFolder } from '../support/app.ts';
import { startServer } from '../support/server.ts';
import { startMailApp, startSmtp } from '../support/smtp.ts';

const MAILS = 200;

test('of many claims at once each mail goes to one', async () => {
  const { database } = loadConfig({ DATA_DIR: temporaryFolder(), ...(await databaseFor(temporaryFolder())), DATABASE_POOL_SIZE: '20', DATABASE_TIMEOUT_MS: '5000' });
  const store = await openStore(database);
  onTestFinished(() => store.close());
  await store.transact(Array.from({ length: MAILS }, (_, index) => store.mails.insert({
    id: `${index}`, template: 'password_changed', recipient: '', data: '{}', tokenSeed: null, keyId: null, expiresAt: 2, createdAt: 0,
  })));
  const claimed: string[] = [];
  await Promise.all(Array.from({ length: 20 }, async () => {
    while (await store.mails.areDue(1)) claimed.push(...(await store.mails.claim({ now: 1, leaseUntil: 2, limit: 5 })).map(({ id }) => id));
  }));
  expect(claimed).toHaveLength(MAILS);
  expect(new Set(claimed).size).toBe(MAILS);
});

test(`three copies of the server on one database send each of ${MAILS} mails once`, async () => {
  const smtp = await startSmtp({ data: () => new Promise((resolve) => { setTimeout(resolve, 10); }) });
  const DATA_DIR = temporaryFolder();
  const { DATABASE_URL = '' } = await databaseFor(DATA_DIR);
  const before = await startMailApp({ url: 'smtp://127.0.0.1:1' }, { DATA_DIR });
  const copies = Array.from({ length: 3 }, () => startServer({ DATA_DIR, SMTP_URL: smtp.url, MAIL_FROM: 'no-reply@example.com' }));
  await Promise.all(copies);
  before.clock.now = Date.now();
  for (let index = 0; index < MAILS; index += 1) await before.queue({ template: 'password_changed', to: `user${index}@example.com` });
  await before.app.close();
  await smtp.expectMails(MAILS);
  for (const copy of copies) expect(await (await copy).stop('SIGTERM')).toBe(0); // after what is in hand
  expect(smtp.received).toHaveLength(MAILS);
  expect(new Set(smtp.received.map(({ to }) => to[0])).size).toBe(MAILS);
  const senders = await Promise.all(copies.map(async (copy) => (await copy).output().match(/mail_sent/g)?.length ?? 0));
  expect(senders.filter((count) => count > 0).length).toBeGreaterThan(1);
  const store = await openStore({ dialect: 'postgres', url: DATABASE_URL, poolSize: 1, timeoutMs: 1500 });
  expect(await store.mails.areDue(Number.MAX_SAFE_INTEGER)).toBe(false);
  await store.close();
});
