import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { queueMail } from '../../src/core/mails.ts';
import { hashOneTimeToken, newOneTimeToken } from '../../src/core/one-time-tokens.ts';
import { freePort } from '../support/postgres.ts';
import { DAY_MS } from '../support/app.ts';
import { openMetrics } from '../support/metrics.ts';
import { reply, startMailApp, startSmtp } from '../support/smtp.ts';

const pause = (ms: number) => new Promise((resolve) => { setTimeout(resolve, ms); });

describe('a mail that was queued', () => {
  test('arrives by itself, as text and HTML, with the link whose token the account has; and is gone from the outbox', async () => {
    const smtp = await startSmtp();
    const { queueLink, isEmpty, logged } = await startMailApp(smtp);
    const { token, tokenHash } = await queueLink();
    const [mail] = await smtp.expectMails(1);
    expect(mail).toMatchObject({ from: 'no-reply@example.com', to: ['john@example.com'], subject: 'Choose a new password for Example', link: `https://app.example.com/account/reset-password#token=${token}` });
    expect(hashOneTimeToken(mail!.token!)).toBe(tokenHash);
    expect(mail!.html).toContain(`<a href="https://app.example.com/account/reset-password#token=${token}"`);
    for (const body of [mail!.text, mail!.html]) expect(body).toContain('for 1 hour');
    expect(mail!.headers).toMatchObject({ 'from': 'Example <no-reply@example.com>', 'to': 'john@example.com', 'auto-submitted': 'auto-generated', 'message-id': expect.stringMatching(/^<[\w-]{22}@example\.com>$/) });
    expect(mail!.raw).not.toMatch(/nodemailer/i);
    await expect.poll(isEmpty).toBe(true);
    expect(logged('mail_sent')).toMatchObject([{ level: 30, template: 'reset_password', attempts: 1, mail_id: mail!.headers['message-id']!.slice(1, 23) }]);
  });

  test('is not sent when its transaction is undone', async () => {
    const smtp = await startSmtp();
    const { app, deliver, isEmpty } = await startMailApp(smtp);
    const impossible = app.store.oneTimeTokens.consume('no such token', 'verify_email', 0);
    expect(await app.store.transact([queueMail(app, { template: 'password_changed', to: 'john@example.com' }), impossible])).toBeNull();
    await deliver();
    expect(await isEmpty()).toBe(true);
    expect(smtp.received).toEqual([]);
  });

  test('of each template arrives whole, with every placeholder filled', async () => {
    const smtp = await startSmtp();
    const { queue, queueLink, deliver, app, clock } = await startMailApp(smtp);
    await queueLink();
    for (const template of ['verify_email', 'already_registered'] as const) await queue({ template, to: 'john@example.com', token: newOneTimeToken(app), expiresAt: clock.now + DAY_MS });
    for (const template of ['password_changed', 'account_deleted'] as const) await queue({ template, to: 'john@example.com' });
    for (const template of ['email_change_requested', 'email_changed'] as const) await queue({ template, to: 'john@example.com', newEmail: 'new@example.com' });
    await deliver();
    expect(smtp.received.map(({ subject }) => subject).sort()).toEqual([
      'A new e-mail address for your Example account', 'Choose a new password for Example', 'Confirm your e-mail address for Example', 'The e-mail address of your Example account was changed',
      'You already have an account with Example', 'Your Example account was deleted', 'Your password for Example was changed',
    ]);
    for (const { text, html, link, subject, headers } of smtp.received) {
      for (const body of [text, html]) {
        expect(body).toContain('john@example.com');
        expect(body).toContain('If it was not you');
        expect(body).not.toMatch(/[{}]{2}[^\s]|undefined|null/);
      }
      expect(html).not.toMatch(/<img|<script|url\(|<link/i);
      expect(headers['content-type']).toMatch(/^multipart\/alternative/);
      expect(/new password for E|Confirm|already/.test(subject)).toBe(link !== null);
      if (/^Confirm/.test(subject)) expect(link).toMatch(/^https:\/\/app\.example\.com\/account\/verify-email#token=[\w-]{43}$/);
      if (/e-mail address (of|for) your/.test(subject)) for (const body of [text, html]) expect(body).toContain('new@example.com');
    }
  });

  test('as a decoy is deleted unsent', async () => {
    const smtp = await startSmtp();
    const { queue, deliver, isEmpty, logLines } = await startMailApp(smtp);
    await queue({ template: 'decoy' });
    const before = logLines.length;
    await deliver();
    expect(await isEmpty()).toBe(true);
    expect([smtp.received.length, logLines.length - before]).toEqual([0, 0]);
  });
});

describe('a mail server that', () => {
  test('is down at first gets the mail when it is up, after pauses that double, under the same id', async () => {
    const port = await freePort();
    const metrics = await openMetrics();
    const { queueLink, deliver, clock, logged, isEmpty } = await startMailApp({ url: `smtp://127.0.0.1:${port}` }, metrics.env);
    const { token } = await queueLink();
    const pauses: number[] = [];
    for (let attempt = 1; attempt <= 6; attempt += 1) {
      await deliver();
      const lines = logged('mail_failed');
      expect(lines).toHaveLength(attempt);
      expect(lines.at(-1)).toMatchObject({ level: 40, template: 'reset_password', attempts: attempt, code: 'ESOCKET', reason: expect.stringContaining('ECONNREFUSED') });
      pauses.push(lines.at(-1)!.retry_in_s as number);
      await deliver(); // not due
      expect(logged('mail_failed')).toHaveLength(attempt);
      clock.now += pauses.at(-1)! * 1000 + 1000;
    }
    for (const [index, seconds] of pauses.entries()) {
      expect(seconds).toBeGreaterThanOrEqual(Math.floor(5 * 2 ** index * (2 / 3)));
      expect(seconds).toBeLessThanOrEqual(5 * 2 ** index);
    }
    const smtp = await startSmtp({}, { port });
    await deliver();
    expect(smtp.received).toMatchObject([{ token }]);
    expect(logged('mail_sent')).toMatchObject([{ attempts: 7, mail_id: smtp.received[0]!.headers['message-id']!.slice(1, 23) }]);
    expect(await isEmpty()).toBe(true);
    const mails = (outcome: string) => metrics.value(`keyturn_mails_total{outcome="${outcome}"}`);
    expect([await mails('failed'), await mails('sent'), await mails('given_up')]).toEqual([6, 1, undefined]);
  });

  test.each<[string, Parameters<typeof startSmtp>[0], string, RegExp]>([
    ['puts the recipient off', { to: () => { throw reply(450, '4.2.0 greylisted'); } }, 'EENVELOPE 450', /greylisted/],
    ['refuses the recipient by policy', { to: () => { throw reply(554, '5.7.1 relaying denied'); } }, 'EENVELOPE 554', /relaying denied/],
    ['refuses the sender', { from: () => { throw reply(550, '5.1.8 bad sender'); } }, 'EENVELOPE 550', /bad sender/],
    ['refuses the mail', { data: () => { throw reply(554, '5.6.0 no'); } }, 'EMESSAGE 554', /no/],
    ['puts the mail off', { data: () => { throw reply(452, '4.3.1 disk full'); } }, 'EMESSAGE 452', /disk full/],
    ['is shutting down', { connect: () => { throw reply(421, '4.3.2 closing'); } }, 'EPROTOCOL 421', /closing/],
  ])('%s gets the mail when it has changed its mind, however late', async (_name, rules, code, reason) => {
    const smtp = await startSmtp(rules);
    const { queueLink, deliver, clock, logged } = await startMailApp(smtp);
    const { token } = await queueLink();
    for (let attempt = 1; attempt <= 9; attempt += 1) {
      await deliver();
      expect(logged('mail_failed')).toHaveLength(attempt);
      expect(logged('mail_failed').at(-1)).toMatchObject({ code, reason: expect.stringMatching(reason) });
      clock.now += (logged('mail_failed').at(-1)!.retry_in_s as number) * 1000 + 1000;
    }
    smtp.change({});
    await deliver();
    expect(smtp.received).toMatchObject([{ token }]);
  });

  test.each<[string, Parameters<typeof startSmtp>[0], string, RegExp]>([
    ['does not greet', { connect: () => pause(60_000) }, 'ETIMEDOUT', /Greeting never received/],
    ['does not answer the recipient', { to: () => pause(60_000) }, 'ETIMEDOUT', /Timeout/],
    ['does not say that it has taken the mail', { data: () => pause(60_000) }, 'ETIMEDOUT', /Timeout/],
  ])('%s is not waited for without end, and gets the mail when it does', async (_name, rules, code, reason) => {
    const smtp = await startSmtp(rules);
    const { queueLink, deliver, clock, logged, isEmpty } = await startMailApp(smtp, {}, 200);
    const { token } = await queueLink();
    const tryAgain = async () => {
      await deliver();
      clock.now += 60_000;
    };
    const failures = () => logged('mail_failed');
    await expect.poll(() => tryAgain().then(failures)).toContainEqual(
      expect.objectContaining({ code, reason: expect.stringMatching(reason) }));
    smtp.change({});
    await expect.poll(() => tryAgain().then(isEmpty)).toBe(true);
    expect(smtp.received).toMatchObject([{ token }]);
  });

  test('sends a word now and then, and never an end, is not waited for either', async () => {
    const talker = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.write('220 welcome\r\n');
      socket.once('data', () => {
        const timer = setInterval(() => socket.write('250-wait\r\n'), 50);
        socket.on('close', () => clearInterval(timer));
      });
    }).listen(0, '127.0.0.1');
    await once(talker, 'listening');
    onTestFinished(() => void talker.close());
    const { queueLink, deliver, logged } = await startMailApp({ url: `smtp://127.0.0.1:${(talker.address() as { port: number }).port}` }, {}, 200);
    await queueLink();
    await deliver();
    expect(logged('mail_failed')).toMatchObject([{ attempts: 1, code: 'EABORT' }]);
  });

  test('hangs up in the middle gets the mail again', async () => {
    const smtp = await startSmtp({ data: () => { throw reply(421, '4.4.2 bye'); } });
    const { queueLink, deliver, clock, logged } = await startMailApp(smtp);
    const { token } = await queueLink();
    await deliver();
    expect(logged('mail_failed')).toHaveLength(1);
    smtp.change({});
    clock.now += 6000;
    await deliver();
    expect(smtp.received).toMatchObject([{ token }]);
  });

  test('is slow with one mail does not hold the others up, and no more than five are sent at once', async () => {
    let atOnce = 0;
    let most = 0;
    const five = Promise.withResolvers<unknown>();
    const smtp = await startSmtp({
      data: async ({ to }) => {
        most = Math.max(most, atOnce += 1);
        if (most === 5) five.resolve(null);
        await five.promise;
        if (to[0] === 'slow@example.com') await smtp.expectMails(20);
        else await pause(20);
        atOnce -= 1;
      },
    });
    const { queue, deliver } = await startMailApp(smtp);
    await queue({ template: 'password_changed', to: 'slow@example.com' });
    for (let index = 0; index < 20; index += 1) await queue({ template: 'password_changed', to: `user${index}@example.com` });
    await deliver();
    expect(smtp.received).toHaveLength(21);
    expect(smtp.received.at(-1)!.to).toEqual(['slow@example.com']);
    expect(most).toBe(5);
    expect(new Set(smtp.received.map(({ headers }) => headers['message-id'])).size).toBe(21);
  });
});
