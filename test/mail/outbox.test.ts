import { describe, expect, test, vi } from 'vitest';
import { newOneTimeToken } from '../../src/core/one-time-tokens.ts';
import { LEASE_MS } from '../../src/core/postman.ts';
import { DatabaseAway } from '../../src/store/db.ts';
import { DAY_MS } from '../support/app.ts';
import { openMetrics } from '../support/metrics.ts';
import { reply, startMailApp, startSmtp } from '../support/smtp.ts';

const HOUR_MS = 3_600_000;
const pause = (ms: number) => new Promise((resolve) => { setTimeout(resolve, ms); });

describe('a mail is given up', () => {
  test.each(['reset_password', 'password_changed'] as const)('when its time is over (%s), with a log line and a count, and not before', async (template) => {
    const smtp = await startSmtp({ data: () => { throw reply(450, 'not now'); } });
    const metrics = await openMetrics();
    const { queue, deliver, clock, logged, isEmpty, app } = await startMailApp(smtp, metrics.env);
    const good = template === 'reset_password' ? HOUR_MS : 3 * DAY_MS;
    await queue(template === 'reset_password' ? { template, to: 'john@example.com', token: newOneTimeToken(app), expiresAt: clock.now + good } : { template, to: 'john@example.com' });
    const begin = clock.now;
    while (clock.now < begin + good) {
      await deliver();
      expect(logged('mail_given_up')).toEqual([]);
      clock.now += (logged('mail_failed').at(-1)!.retry_in_s as number) * 1000 + 500;
    }
    expect(clock.now - begin - good).toBeLessThanOrEqual(1000); // its end is a time to look, too
    await deliver();
    const attempts = logged('mail_failed').length + 1;
    expect(logged('mail_given_up')).toMatchObject([{ level: 50, template, attempts, reason: 'expired', mail_id: expect.stringMatching(/^[\w-]{22}$/), age_s: Math.round((clock.now - begin) / 1000) }]);
    expect(attempts).toBeGreaterThan(9);
    expect(attempts).toBeLessThan(130);
    expect(await metrics.value('keyturn_mails_total{outcome="given_up"}')).toBe(1);
    expect(await isEmpty()).toBe(true);
    expect(smtp.received).toEqual([]);
  });

  test('when the server has said five times that there is no such address', async () => {
    const smtp = await startSmtp({ to: (address) => { if (address === 'gone@example.com') throw reply(550, '5.1.1 no such user here'); } });
    const { queueLink, deliver, clock, logged, isEmpty } = await startMailApp(smtp);
    await queueLink('gone@example.com');
    await queueLink('john@example.com');
    for (let attempt = 1; attempt <= 5; attempt += 1) {
      expect(logged('mail_given_up')).toEqual([]);
      await deliver();
      clock.now += 90_000;
    }
    expect(smtp.received.map(({ to }) => to)).toEqual([['john@example.com']]);
    expect(logged('mail_given_up')).toMatchObject([{ attempts: 5, reason: 'address_refused' }]);
    expect(await isEmpty()).toBe(true);
  });

  test('only at its end when the key of its link is not known here: another copy of the server may have it', async () => {
    const [older, newer] = ['aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA', 'zA1yB2xC3wD4vE5uF6tG7sH8rI9qJ0pK'];
    const smtp = await startSmtp();
    const first = await startMailApp(smtp, { SECRET_KEY: newer });
    const token = newOneTimeToken(first.app);
    const second = await startMailApp(smtp, { SECRET_KEY: older, DATA_DIR: first.folder });
    await second.queue({ template: 'reset_password', to: 'john@example.com', token, expiresAt: second.clock.now + HOUR_MS });
    await second.deliver();
    expect(second.logged('mail_failed')).toMatchObject([{ code: 'KEY' }]);
    second.clock.now += HOUR_MS;
    await second.deliver();
    expect(second.logged('mail_given_up')).toMatchObject([{ reason: 'expired' }]);
    expect(smtp.received).toEqual([]);
  });

  test('only at its end when its template is of another version', async () => {
    const smtp = await startSmtp();
    const { queue, deliver, logged } = await startMailApp(smtp);
    for (const template of ['from_the_future', 'constructor'] as never[]) await queue({ template, to: 'john@example.com' });
    await deliver();
    expect(logged('mail_failed')).toMatchObject([{ code: 'TEMPLATE' }, { code: 'TEMPLATE' }]);
  });
});

describe('the outbox', () => {
  test('keeps a mail whose sender died for the time of the lease, and then sends it', async () => {
    const smtp = await startSmtp();
    const { app, queueLink, deliver, clock } = await startMailApp(smtp);
    const { token } = await queueLink();
    const [mail] = await app.store.mails.claim({ now: clock.now, leaseUntil: clock.now + LEASE_MS, limit: 1 });
    expect(mail).toMatchObject({ attempts: 1 });
    clock.now += LEASE_MS - 1;
    await deliver();
    expect(smtp.received).toEqual([]);
    clock.now += 1;
    await deliver();
    expect(smtp.received).toMatchObject([{ token }]);
  });

  test('is delivered by many calls at once without sending a mail twice, or more than five at a time', async () => {
    let atOnce = 0;
    let most = 0;
    let claims: number | undefined;
    const five = Promise.withResolvers<unknown>();
    const smtp = await startSmtp();
    const { app, queue, deliver } = await startMailApp(smtp);
    const claim = vi.spyOn(app.store.mails, 'claim');
    smtp.change({
      data: async () => {
        claims ??= claim.mock.calls.length;
        most = Math.max(most, atOnce += 1);
        if (most === 5) five.resolve(null);
        await five.promise;
        await pause(50);
        atOnce -= 1;
      },
    });
    for (let index = 0; index < 12; index += 1) await queue({ template: 'password_changed', to: `user${index}@example.com` });
    await Promise.all(Array.from({ length: 5 }, () => deliver()));
    expect([claims, most]).toEqual([1, 5]);
    expect(smtp.received.map(({ to }) => to[0]).sort()).toEqual(Array.from({ length: 12 }, (_, index) => `user${index}@example.com`).sort());
  });

  test('is looked at again after the database was away, which is said once in the log', async () => {
    const smtp = await startSmtp();
    const { app, queueLink, deliver, logged } = await startMailApp(smtp);
    const areDue = vi.spyOn(app.store.mails, 'areDue').mockRejectedValue(new DatabaseAway('gone'));
    await expect.poll(() => areDue.mock.calls.length).toBeGreaterThan(1);
    await expect(deliver()).rejects.toThrow(DatabaseAway);
    expect(logged('outbox_failed')).toMatchObject([{ level: 50, err: { message: 'gone' } }]);
    areDue.mockRestore();
    await queueLink();
    await smtp.expectMails(1);
  });

  test('is only looked at, and not written, while nothing is due', async () => {
    const smtp = await startSmtp();
    const { app, queueLink, deliver, clock } = await startMailApp(smtp);
    await queueLink();
    await app.store.mails.claim({ now: clock.now, leaseUntil: clock.now + 1, limit: 1 });
    const [areDue, claim] = [vi.spyOn(app.store.mails, 'areDue'), vi.spyOn(app.store.mails, 'claim')];
    await expect.poll(() => areDue.mock.calls.length).toBeGreaterThan(1);
    expect(claim).not.toHaveBeenCalled();
    clock.now += 1;
    await deliver();
    expect(claim).toHaveBeenCalledOnce();
  });

  test('has a mail twice rather than never, when the database is away after the sending; the id is the same', async () => {
    const smtp = await startSmtp();
    const { app, queueLink, deliver, logged, clock } = await startMailApp(smtp);
    await queueLink();
    vi.spyOn(app.store.mails, 'remove').mockRejectedValueOnce(new DatabaseAway('gone'));
    await deliver();
    expect(logged('outbox_failed')).toHaveLength(1);
    clock.now += LEASE_MS;
    await deliver();
    const [first, second] = smtp.received.map(({ headers }) => headers['message-id']);
    expect(first).toBe(second);
    expect(smtp.received).toHaveLength(2);
  });
});

describe('when the server stops', () => {
  test('the mails in hand are sent to their end, and no other is begun', async () => {
    const [inHand, release] = [vi.fn(), Promise.withResolvers<unknown>()];
    const smtp = await startSmtp({ data: () => { inHand(); return release.promise; } });
    const { app, queue, deliver, folder } = await startMailApp(smtp);
    for (let index = 0; index < 8; index += 1) await queue({ template: 'password_changed', to: `user${index}@example.com` });
    const delivering = deliver();
    await expect.poll(() => inHand.mock.calls.length).toBe(5);
    const closed = app.close();
    release.resolve(null);
    await Promise.all([closed, delivering]);
    expect(smtp.received).toHaveLength(5);
    const next = await startMailApp(smtp, { DATA_DIR: folder });
    await next.deliver();
    expect(new Set(smtp.received.map(({ to }) => to[0])).size).toBe(8);
    expect(smtp.received).toHaveLength(8);
  });

  test('and a mail server keeps it waiting, it is cut off after three seconds; the mail is sent after the next start', async () => {
    const inHand = vi.fn();
    const smtp = await startSmtp({ data: () => { inHand(); return pause(60_000); } });
    const { app, queueLink, folder } = await startMailApp(smtp);
    const { token } = await queueLink();
    void app.postman.deliver();
    await expect.poll(() => inHand.mock.calls.length).toBe(1);
    const before = performance.now();
    await app.close();
    expect(performance.now() - before).toBeLessThan(20_000); // the time-out of the socket is 30 seconds
    smtp.change({});
    const next = await startMailApp(smtp, { DATA_DIR: folder });
    next.clock.now += 6000;
    await next.deliver();
    expect(smtp.received).toMatchObject([{ token }]);
  });
});
