import { expect, test } from 'vitest';
import { CLOCK_SKEW_MS } from '../../src/store/db.ts';
import { LONGEST_MAIL_PAUSE_MS } from '../../src/store/mails.ts';
import { openTestStore } from '../support/store.ts';

/** The contract of the store: the same on every dialect. */

const NOW = 1_795_000_000_000;
const FURTHEST = NOW + LONGEST_MAIL_PAUSE_MS + CLOCK_SKEW_MS;
const mail = (id: string) => ({
  id, template: 'verify_email', recipient: 'ada@example.com', data: '{}', tokenSeed: null, keyId: null, expiresAt: NOW + 1, createdAt: NOW,
});

test.each([
  [NOW, true], [NOW + 1, false], [FURTHEST, false], [FURTHEST + 1, true],
])('a mail that is due at %i is due now: %s; further ahead than any pause means that a clock was wrong', async (dueAt, due) => {
  const { mails, transact } = await openTestStore();
  await transact([mails.insert(mail('one'))]);
  await mails.postpone('one', dueAt);
  expect(await mails.areDue(NOW)).toBe(due);
  expect((await mails.claim({ now: NOW, leaseUntil: NOW + 1, limit: 5 })).map(({ id }) => id)).toEqual(due ? ['one'] : []);
});
