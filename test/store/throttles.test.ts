import { expect, test } from 'vitest';
import { openTestStore } from '../support/store.ts';

/** The contract of the store: the same on every dialect. */

const NOW = 1_795_000_000_000;
const POLICY = { free: 3, pauseMs: 1000, longestPauseMs: 5000, limit: 8, forgetMs: 100_000 };
const user = (id: string, usernameKey: string | null = null) => ({
  id, email: `${id}@example.com`, username: usernameKey, usernameKey, passwordHash: `hash of ${id}`, roles: '', emailVerifiedAt: null, passwordChangedAt: NOW, createdAt: NOW,
  lastSignedInAt: null, verifyBy: null,
});

test('attempts are counted; after the free ones each pause is twice the last, up to the longest, and at the limit there are no more', async () => {
  const { throttles } = await openTestStore();
  const seen = [];
  for (let now = NOW, taken; (taken = await throttles.take('key', now, POLICY)); now = taken.blockedUntil) {
    expect(taken.expiresAt).toBe(taken.blockedUntil + POLICY.forgetMs);
    expect(await throttles.find('key')).toEqual(taken);
    if (taken.blockedUntil > now) expect(await throttles.take('key', taken.blockedUntil - 1, POLICY)).toBeUndefined();
    seen.push([taken.count, taken.blockedUntil - now]);
  }
  expect(seen).toEqual([[1, 0], [2, 0], [3, 1000], [4, 2000], [5, 4000], [6, 5000], [7, 5000], [8, 5000]]);
  expect((await throttles.find('key'))?.count).toBe(8);
});

test('pauses of many attempts stay at the longest, however often they would double', async () => {
  const { throttles } = await openTestStore();
  const policy = { ...POLICY, pauseMs: 900_000, longestPauseMs: 86_400_000, limit: Number.MAX_SAFE_INTEGER, forgetMs: 86_400_000 };
  let now = NOW;
  for (let count = 1; count <= 100; count += 1) {
    const taken = (await throttles.take('key', now, policy))!;
    expect(taken.blockedUntil - now).toBe(count < 3 ? 0 : Math.min(900_000 * 2 ** (count - 3), 86_400_000));
    now = taken.blockedUntil;
  }
});

test('of many at once no more pass than are allowed', async () => {
  const { throttles } = await openTestStore();
  const taken = await Promise.all(Array.from({ length: 200 }, () => throttles.take('key', NOW, POLICY)));
  expect(taken.filter(Boolean)).toHaveLength(3);
  expect((await throttles.find('key'))?.count).toBe(3);
});

test('what was forgotten begins anew, also past the limit', async () => {
  const { throttles } = await openTestStore();
  for (let time = 0; time < 20; time += 1) await throttles.count('key', NOW, POLICY);
  expect(await throttles.find('key')).toEqual({ key: 'key', count: 20, blockedUntil: NOW + 5000, expiresAt: NOW + 105_000 });
  expect(await throttles.take('key', NOW + 104_999, POLICY)).toBeUndefined();
  expect(await throttles.take('key', NOW + 105_000, POLICY)).toEqual({ key: 'key', count: 1, blockedUntil: NOW + 105_000, expiresAt: NOW + 205_000 });
});

test('an attempt that was made without asking counts, also while there is to be none', async () => {
  const { throttles } = await openTestStore();
  for (let time = 0; time < 5; time += 1) await throttles.count('key', NOW, POLICY);
  expect(await throttles.find('key')).toMatchObject({ count: 5, blockedUntil: NOW + 4000 });
});

test('one that is given back was never there, nor its pause; below nothing there is nothing', async () => {
  const { throttles } = await openTestStore();
  for (let time = 0; time < 3; time += 1) await throttles.take('key', NOW, POLICY);
  await throttles.giveBack('key', NOW + 1);
  expect(await throttles.find('key')).toMatchObject({ count: 2, blockedUntil: NOW + 1 });
  expect(await throttles.take('key', NOW + 1, POLICY)).toMatchObject({ count: 3, blockedUntil: NOW + 1001 });
  for (let time = 0; time < 5; time += 1) await throttles.giveBack('key', NOW);
  expect(await throttles.find('key')).toMatchObject({ count: 0 });
  await throttles.giveBack('none', NOW);
  expect(await throttles.find('none')).toBeUndefined();
});

test.each(['take', 'count', 'giveBack', 'clear'] as const)('%s touches its own key and no other', async (method) => {
  const { throttles, transact } = await openTestStore();
  for (const key of ['key', 'other', 'other', 'other', 'other']) await throttles.count(key, NOW, POLICY);
  const other = await throttles.find('other');
  const act = {
    take: () => throttles.take('key', NOW, POLICY), count: () => throttles.count('key', NOW, POLICY),
    giveBack: () => throttles.giveBack('key', NOW + 1), clear: () => transact([throttles.clear('key')]),
  };
  const before = await throttles.find('key');
  await act[method]();
  expect(await throttles.find('key')).not.toEqual(before);
  expect(await throttles.find('other')).toEqual(other);
});

test('as a step it undoes the transaction when there is to be none; clearing forgets one key only', async () => {
  const { throttles, transact, users } = await openTestStore();
  for (const id of ['a', 'b', 'c']) expect(await transact([users.insert(user(id)), throttles.takeStep('key', NOW, POLICY)])).not.toBeNull();
  expect(await transact([users.insert(user('d')), throttles.takeStep('key', NOW, POLICY)])).toBeNull();
  expect(await users.find('d')).toBeUndefined();
  await throttles.take('other', NOW, POLICY);
  await transact([throttles.clear('key'), throttles.clear('none')]);
  expect(await throttles.find('key')).toBeUndefined();
  expect(await throttles.find('other')).toBeDefined();
});

test('what is forgotten is purged, and nothing else', async () => {
  const { throttles } = await openTestStore();
  for (const [key, now] of [['old', NOW], ['new', NOW + 1]] as const) await throttles.take(key, now, POLICY);
  expect(await throttles.purge(NOW + POLICY.forgetMs - 1)).toBe(0);
  expect(await throttles.purge(NOW + POLICY.forgetMs)).toBe(1);
  expect(await throttles.find('old')).toBeUndefined();
  expect(await throttles.find('new')).toBeDefined();
});

test('one look-up brings an account and the throttles of five keys, each as far as it is there', async () => {
  const { throttles, transact, users } = await openTestStore();
  await transact([users.insert(user('ada', 'ada_1')), users.insert(user('bob'))]);
  for (const key of ['k1', 'k5', 'k9']) await throttles.take(key, NOW, POLICY);
  const find = async (email: string | null, usernameKey: string | null, throttleKeys: string[]) => {
    const found = await users.findForSignIn({ email, usernameKey, throttleKeys });
    return [found.user?.id, found.throttles.map(({ key }) => key).sort()];
  };
  const keys = ['k1', 'k2', 'k3', 'k4', 'k5'];
  expect(await find('ada@example.com', null, keys)).toEqual(['ada', ['k1', 'k5']]);
  expect(await find(null, 'ada_1', ['k2'])).toEqual(['ada', []]);
  expect(await find('nobody@example.com', null, keys)).toEqual([undefined, ['k1', 'k5']]);
  expect(await find(null, null, [])).toEqual([undefined, []]);
});
