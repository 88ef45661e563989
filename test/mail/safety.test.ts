import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { reply, startMailApp, startSmtp } from '../support/smtp.ts';

const CREDENTIALS = 'user%40example.com:p%40ss%20w%C3%B6rd%2F%3F';

describe('TLS:', () => {
  test('a server elsewhere that offers no STARTTLS gets nothing', async () => {
    const smtp = await startSmtp({}, { host: '0.0.0.0' });
    const { queueLink, deliver, logged, isEmpty } = await startMailApp({ url: `smtp://0.0.0.0:${smtp.port}` });
    await queueLink();
    await deliver();
    expect(logged('mail_failed')).toMatchObject([{ code: 'ETLS 500', reason: expect.stringContaining('STARTTLS') }]);
    expect(smtp.received).toEqual([]);
    expect(await isEmpty()).toBe(false);
  });

  test('on this machine a mail goes without, and with whatever certificate there is', async () => {
    for (const disabledCommands of [['STARTTLS', 'AUTH'], ['AUTH']]) {
      const smtp = await startSmtp({}, { disabledCommands });
      const { queueLink, deliver } = await startMailApp(smtp);
      await queueLink();
      await deliver();
      expect(smtp.received).toMatchObject([{ secure: !disabledCommands.includes('STARTTLS') }]);
    }
  });

  test('credentials that the server does not take are no reason to send without', async () => {
    const smtp = await startSmtp({ auth: () => { throw reply(535, '5.7.8 authentication failed for user@example.com'); } }, { disabledCommands: ['STARTTLS'], allowInsecureAuth: true });
    const { queueLink, deliver, logged, clock } = await startMailApp({ url: smtp.url.replace('//', `//${CREDENTIALS}@`) });
    const { token } = await queueLink();
    await deliver();
    expect(logged('mail_failed')).toMatchObject([{ code: 'EAUTH 535' }]);
    expect(smtp.received).toEqual([]);
    smtp.change({});
    clock.now += 6000;
    await deliver();
    expect(smtp.received).toMatchObject([{ token, user: 'user@example.com' }]);
  });
});

describe('what comes from people', () => {
  test.each([
    'john@example.com\r\nBcc: eve@example.com', 'john@example.com\neve@example.com', 'john@example.com,eve@example.com', 'john@example.com;eve@example.com', 'john@example.com eve@example.com',
    'eve@example.com <john@example.com>', '<john@example.com>', '"john@example.com eve"@example.com', 'john@example.com> SIZE=1', 'john@example.com@example.org', '@example.com', 'john', '', 'john@exa\u0007mple.com', 'john@[127.0.0.1]', 'team:john@example.com',
  ])('is no address when it is %j: nothing is sent to anyone, and the mail is given up', async (to) => {
    const smtp = await startSmtp();
    const { queue, deliver, logged, isEmpty } = await startMailApp(smtp);
    await queue({ template: 'password_changed', to });
    await deliver();
    expect(logged('mail_given_up')).toMatchObject([{ reason: 'address_invalid', attempts: 1 }]);
    expect(await isEmpty()).toBe(true);
    expect(smtp.received).toEqual([]);
  });

  test.each([
    ['a line break and a header', 'new@example.com\r\nBcc: eve@example.com\r\n\r\nHello', 'new@example.com Bcc: eve@example.com Hello'],
    ['a placeholder', '{{email}}@example.com', '{{email}}@example.com'],
    ['a template engine’s code', '{{7*7}}${7*7}<%= 7*7 %>#{7*7}@example.com', '{{7*7}}${7*7}<%= 7*7 %>#{7*7}@example.com'],
    ['a replacement pattern', "$&$`$'$1@example.com", "$&$`$'$1@example.com"],
    ['HTML', '"><img src=x onerror=\'alert(1)\'>&amp;@example.com', '"><img src=x onerror=\'alert(1)\'>&amp;@example.com'],
  ])('stays text: %s', async (_name, newEmail, asText) => {
    const smtp = await startSmtp();
    const { queue, deliver } = await startMailApp(smtp);
    await queue({ template: 'email_change_requested', to: 'john@example.com', newEmail });
    await deliver();
    const [mail] = smtp.received;
    expect(mail!.to).toEqual(['john@example.com']);
    expect(Object.keys(mail!.headers)).not.toContain('bcc');
    expect(mail!.text).toContain(asText);
    expect(mail!.html).toContain(asText.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;').replaceAll("'", '&#39;'));
    expect(mail!.html).not.toMatch(/<img|49/);
  });

  test('may have any letters; and so may the name of the service', async () => {
    const smtp = await startSmtp();
    const { queue, deliver } = await startMailApp(smtp, { MAIL_FROM: '"Größe, Söhne & 猫 🥐" <no-reply@exämple.com>' });
    await queue({ template: 'email_changed', to: 'john@example.com', newEmail: '猫@example.com' });
    await deliver();
    const [mail] = smtp.received;
    expect(mail!.subject).toBe('The e-mail address of your Größe, Söhne & 猫 🥐 account was changed');
    expect(mail!.text).toContain('猫@example.com');
    expect(mail!.html).toContain('Größe, Söhne &amp; 猫 🥐');
    expect(mail!.to).toEqual(['john@example.com']);
    expect(mail!.headers.from).toMatch(/^=\?UTF-8\?.*<no-reply@xn--exmple-cua\.com>$/);
    expect(mail!.headers['message-id']).toMatch(/@xn--exmple-cua\.com>$/);
    expect(/^[\0-\x7f]*$/.test(mail!.raw.slice(0, mail!.raw.indexOf('\r\n\r\n')).replace(/^To: .*$/m, ''))).toBe(true);
  });
});

test('no token, link or address of a person is in the log, whatever the mail server says; and no token in the database while the mail waits', async () => {
  const smtp = await startSmtp();
  const { queueLink, deliver, logLines, folder, app, clock } = await startMailApp(smtp, { LOG_LEVEL: 'trace', SECRET_KEY: 'aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA' });
  smtp.change({ data: ({ raw, text, link, token, to }) => { throw reply(554, `5.7.1 spam: to=<${to[0]}> ${token!} ${link!} ${Buffer.from(token!).toString('hex')} ${encodeURIComponent(link!)} ${text} ${raw}`.replace(/[\r\n]+/g, ' ')); } });
  const { token, seed } = await queueLink('secretive.person@example.com');
  const secrets = [token, token.slice(0, 20), Buffer.from(token).toString('hex'), 'secretive', 'reset-password#', 'token='];
  const inDatabase = () => Buffer.concat(readdirSync(folder).filter((name) => name.startsWith('keyturn.db')).map((name) => readFileSync(join(folder, name))));
  for (let attempt = 0; attempt < 3; attempt += 1) {
    await deliver();
    clock.now += 60_000;
    if (app.config.database.dialect === 'sqlite') {
      expect(inDatabase().includes(seed)).toBe(true);
      for (const form of [token, Buffer.from(token, 'base64url'), Buffer.from(token).toString('hex'), Buffer.from(token).toString('base64').slice(0, 40)]) expect(inDatabase().includes(form)).toBe(false);
    }
  }
  clock.now += 3_600_000;
  await deliver();
  const log = logLines.join('\n');
  for (const event of ['mail_failed', 'mail_given_up']) expect(log).toContain(`"event":"${event}"`);
  expect(log).toContain('554 5.7.1 spam: to=');
  for (const secret of secrets) expect(log).not.toContain(secret);
});

test('links lead to APP_URL, or to PUBLIC_URL, or in development to this machine, whatever Host a request names', async () => {
  const smtp = await startSmtp();
  for (const [env, start] of [
    [{ APP_URL: 'https://app.example.com/', PUBLIC_URL: 'https://auth.example.com' }, 'https://app.example.com/reset-password#token='],
    [{ APP_URL: '', PUBLIC_URL: 'https://auth.example.com/path/' }, 'https://auth.example.com/path/reset-password#token='],
  ] as const) {
    const { queueLink, deliver } = await startMailApp(smtp, env);
    const { token } = await queueLink();
    await deliver();
    expect(smtp.received.pop()!.link).toBe(`${start}${token}`);
  }
  const { app, queueLink, deliver } = await startMailApp(smtp, { APP_URL: '' });
  const address = await app.listen({ host: '127.0.0.1', port: 0 });
  await fetch(`${address}/auth/register`, { method: 'POST', headers: { 'host': 'evil.example', 'x-forwarded-host': 'evil.example', 'content-type': 'application/json' }, body: '{}' });
  const { token } = await queueLink();
  await deliver();
  expect(smtp.received.pop()!.link).toBe(`http://localhost:${new URL(address).port}/reset-password#token=${token}`);
});
