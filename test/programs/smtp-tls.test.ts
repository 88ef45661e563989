import { expect, test } from 'vitest';
import { newOneTimeToken } from '../../src/core/one-time-tokens.ts';
import { temporaryFolder } from '../support/app.ts';
import { LOCALHOST_PEM } from '../support/certificates.ts';
import { startServer } from '../support/server.ts';
import { startMailApp, startSmtp } from '../support/smtp.ts';

const CREDENTIALS = 'user%40example.com:p%40ss%20w%C3%B6rd%2F%3F';
const withOpenssl = test.skipIf(LOCALHOST_PEM === null);

if (LOCALHOST_PEM === null) test.skip('mail over TLS (skipped: there is no openssl)', () => undefined);

withOpenssl.each([
  ['behind STARTTLS, elsewhere', 'smtp://0.0.0.0', { disabledCommands: ['AUTH'] }],
  ['from the start', 'smtps://localhost', { secure: true, disabledCommands: ['AUTH'] }],
  ['from the start, by address', 'smtps://127.0.0.1', { secure: true, disabledCommands: ['AUTH'] }],
])('a certificate %s that is not trusted is refused', async (_name, address, options) => {
  const smtp = await startSmtp({}, { host: '0.0.0.0', ...options });
  const { queueLink, deliver, logged } = await startMailApp({ url: `${address}:${smtp.port}` });
  await queueLink();
  await deliver();
  expect(logged('mail_failed')).toMatchObject([{ reason: expect.stringMatching(/self-signed certificate/) }]);
  expect(smtp.received).toEqual([]);
});

withOpenssl.each([
  ['STARTTLS', 'NODE_EXTRA_CA_CERTS', 'smtp://', {}],
  ['TLS from the start', 'NODE_EXTRA_CA_CERTS', 'smtps://', { secure: true }],
  ['STARTTLS', 'TLS_CA', 'smtp://', {}],
])('%s with a certificate that is trusted by %s, and a password that is percent-encoded in SMTP_URL: the mail is sent', async (_name, trust, scheme, options) => {
  const logins: string[][] = [];
  const smtp = await startSmtp({ auth: (...login) => void logins.push(login) }, { host: '0.0.0.0', disabledCommands: [], ...options });
  const folder = temporaryFolder();
  await queueWhileStopped(folder);
  await startServer({ DATA_DIR: folder, SMTP_URL: `${scheme}${CREDENTIALS}@0.0.0.0:${smtp.port}`, MAIL_FROM: 'no-reply@example.com', [trust]: LOCALHOST_PEM ?? '' });
  await smtp.expectMails(1);
  expect(smtp.received).toMatchObject([{ secure: true, user: 'user@example.com' }]);
  expect(logins).toEqual([['user@example.com', 'p@ss wörd/?']]);
});

withOpenssl('a certificate of another name is refused, though it is trusted', async () => {
  const smtp = await startSmtp({}, { host: '0.0.0.0', secure: true, disabledCommands: ['AUTH'] });
  const folder = temporaryFolder();
  await queueWhileStopped(folder);
  const server = await startServer({ DATA_DIR: folder, SMTP_URL: `smtps://127.0.0.2:${smtp.port}`, MAIL_FROM: 'no-reply@example.com', NODE_EXTRA_CA_CERTS: LOCALHOST_PEM ?? '' });
  await expect.poll(() => server.output()).toMatch(/mail_failed.*does not match certificate/);
  expect(smtp.received).toEqual([]);
});

/** Leaves a mail in the outbox of a folder. */
async function queueWhileStopped(DATA_DIR: string) {
  const { app, clock, queue } = await startMailApp({ url: 'smtp://127.0.0.1:1' }, { DATA_DIR });
  await queue({ template: 'reset_password', to: 'john@example.com', token: newOneTimeToken(app), expiresAt: clock.now + 3_600_000 });
  await app.close();
}
