import { expect, test } from 'vitest';
import { openTestStore } from '../support/store.ts';

/** The contract of the store: the same on every dialect. */

const NOW = 1_795_000_000_000;
const user = (id: string, email: string | null = `${id}@example.com`) => ({
  id, email, username: null, usernameKey: null, passwordHash: `hash of ${id}`, roles: 'admin editor', emailVerifiedAt: null, passwordChangedAt: NOW, createdAt: NOW,
  lastSignedInAt: null, verifyBy: null,
});
const session = (id: string, userId: string) => ({
  id, userId, tokenHash: `${id}-0`, keyId: 'key', userAgent: 'Ünïcode 🦊', ip: '2001:db8::1', now: NOW, limit: 100, idleExpiresAt: NOW + 1000, expiresAt: NOW + 10_000,
});
const signIn = (id: string, hash = `hash of ${id}`) => ({ id, verifiedHash: hash, newHash: hash, now: NOW });
const NEWEST = { createdAt: Number.MAX_SAFE_INTEGER, id: '' };
const rotation = (id: string, from: number, now = NOW) => ({
  id, presentedHash: `${id}-${from}`, nextHash: `${id}-${from + 1}`, keyId: 'key', userAgent: null, ip: '127.0.0.1', now, graceMs: 100, idleExpiresAt: now + 1000,
});

async function storeWithSession() {
  const store = await openTestStore();
  await store.transact([store.users.insert(user('ada')), store.sessions.insert(session('one', 'ada'))]);
  return store;
}

test('what is written is read back whole', async () => {
  const store = await storeWithSession();
  expect(await store.users.find('ada')).toEqual(user('ada'));
  const { now, limit, ...columns } = session('one', 'ada');
  expect(limit).toBe(100);
  expect((await store.sessions.find('one'))?.session).toEqual({
    ...columns, generation: 0, windowStartedAt: now, windowGeneration: 0, previousGeneration: 0, rotatedAt: now,
    revokedAt: null, revokedReason: null, createdAt: now, lastUsedAt: now,
  });
  expect(await store.users.find('nobody')).toBeUndefined();
  expect(await store.sessions.find('none')).toBeUndefined();
});

test('an identifier is given once, and several accounts may have none', async () => {
  const store = await openTestStore();
  const results = await Promise.all(['a', 'b', 'c', 'd'].map((id) => store.transact([store.users.insert(user(id, 'same@example.com'))])));
  expect(results.filter((rows) => rows !== null)).toHaveLength(1);
  for (const id of ['x', 'y']) expect(await store.transact([store.users.insert(user(id, null))])).not.toBeNull();
  expect(await store.users.findByIdentifier(null, null)).toEqual([]);
  expect(await store.users.findByIdentifier('same@example.com', null)).toHaveLength(1);
});

test('a transaction of which a step that must has no row leaves nothing behind', async () => {
  const store = await storeWithSession();
  expect(await store.transact([store.users.insert(user('bob')), store.users.insert(user('ada'))])).toBeNull();
  expect(await store.transact([store.users.insert(user('bob')), store.users.signIn(signIn('bob', 'another')), store.sessions.insert(session('two', 'bob'))])).toBeNull();
  expect(await store.users.find('bob')).toBeUndefined();
  expect(await store.transact([store.users.insert(user('bob')), store.sessions.insert(session('two', 'bob'))])).toEqual([1, 1]);
});

test('of rotations that race one gets the row, and the roles with it', async () => {
  const store = await storeWithSession();
  const rows = await Promise.all(Array.from({ length: 20 }, () => store.sessions.rotate(rotation('one', 0))));
  expect(rows.filter(Boolean)).toEqual([{ id: 'one', userId: 'ada', expiresAt: NOW + 10_000, createdAt: NOW, roles: 'admin editor' }]);
  expect((await store.sessions.find('one'))?.session).toMatchObject({ generation: 1, tokenHash: 'one-1', userAgent: null, ip: '127.0.0.1' });
});

test('a rotation opens a new window when the current one began more than a grace ago, and closes both after a pause', async () => {
  const store = await storeWithSession();
  const seen = [];
  const times = [50, 100, 101, 150, 201, 202, 301, 402, 403, 300, 301, 200];
  for (const [from, after] of times.entries()) {
    await store.sessions.rotate(rotation('one', from, NOW + after));
    const { windowStartedAt, windowGeneration, previousGeneration } = (await store.sessions.find('one'))!.session;
    seen.push([after, windowStartedAt - NOW, windowGeneration, previousGeneration]);
  }
  expect(seen).toEqual([
    [50, 0, 0, 0], [100, 0, 0, 0], // the first window is a grace long
    [101, 101, 2, 0], [150, 101, 2, 0], [201, 101, 2, 0], // the next one; what was superseded in the one before is excused
    [202, 202, 5, 2], [301, 202, 5, 2],
    [402, 402, 7, 7], [403, 402, 7, 7], // more than a grace without a rotation: nothing before it is excused
    [300, 300, 9, 9], [301, 300, 9, 9], // the clock was set back by more than a grace: a pause
    [200, 200, 11, 11],
  ]);
});

test.each([
  ['another token', { presentedHash: 'other' }], ['another key', { keyId: 'other' }], ['a session that is idle too long', { now: NOW + 1000 }],
  ['a session at its absolute end', { now: NOW + 10_000 }], ['another session', { id: 'none' }],
])('%s does not rotate', async (_name, change) => {
  const store = await storeWithSession();
  expect(await store.sessions.rotate({ ...rotation('one', 0), ...change })).toBeUndefined();
});

test('an ended session does not rotate, is not live, is not listed, and keeps its first reason', async () => {
  const store = await storeWithSession();
  await store.transact([store.users.insert(user('eve')), store.sessions.insert(session('hers', 'eve'))]);
  const end = (userId: string, reason: 'logout' | 'ended_by_user') => store.transact([store.sessions.revoke({ id: 'one', userId, reason, now: NOW })]);
  expect(await end('eve', 'logout')).toEqual([0]);
  expect((await store.sessions.findLive('one', NOW))?.user.id).toBe('ada');
  expect(await end('ada', 'logout')).toEqual([1]);
  expect(await end('ada', 'ended_by_user')).toEqual([0]);
  expect(await store.sessions.rotate(rotation('one', 0))).toBeUndefined();
  expect(await store.sessions.findLive('one', NOW)).toBeUndefined();
  expect(await store.sessions.list('ada', NEWEST, 100)).toEqual([]);
  expect((await store.sessions.find('one'))?.session).toMatchObject({ revokedAt: NOW, revokedReason: 'logout' });
  expect(await store.sessions.list('eve', NEWEST, 100)).toHaveLength(1);
});

test('the others, or all, end together, of one user only', async () => {
  const store = await storeWithSession();
  await store.transact([store.users.insert(user('eve')), store.sessions.insert(session('hers', 'eve'))]);
  for (const id of ['two', 'three']) await store.transact([store.sessions.insert(session(id, 'ada'))]);
  expect(await store.transact([store.sessions.revokeOthers({ userId: 'ada', keptId: 'two', reason: 'logout', now: NOW })])).toEqual([2]);
  expect((await store.sessions.list('ada', NEWEST, 100)).map(({ id }) => id)).toEqual(['two']);
  await store.transact([store.sessions.revokeAll({ userId: 'ada', reason: 'logout', now: NOW })]);
  expect(await store.sessions.list('ada', NEWEST, 100)).toEqual([]);
  expect(await store.sessions.list('eve', NEWEST, 100)).toHaveLength(1);
});

test.each([
  'revoke', 'revokeOthers', 'revokeAll',
] as const)('%s ends also sessions past their time, for a clock may be set back; one that was ended keeps its reason and time', async (method) => {
  const store = await storeWithSession();
  for (const id of ['idle', 'live', 'kept']) await store.transact([store.sessions.insert(session(id, 'ada'))]);
  await store.transact([store.sessions.revoke({ id: 'one', userId: 'ada', reason: 'logout', now: NOW })]);
  const now = NOW + 1000; // the idle end of all but these two
  for (const id of ['live', 'kept']) await store.sessions.rotate({ ...rotation(id, 0), idleExpiresAt: now + 1 });
  const before = await store.sessions.find('one');
  const end = { userId: 'ada', reason: 'password_reset', now } as const;
  const steps = {
    revoke: ['one', 'idle', 'live'].map((id) => store.sessions.revoke({ ...end, id })),
    revokeOthers: [store.sessions.revokeOthers({ ...end, keptId: 'kept' })],
    revokeAll: [store.sessions.revokeAll(end)],
  };
  expect(await store.transact(steps[method])).toEqual({ revoke: [0, 1, 1], revokeOthers: [2], revokeAll: [3] }[method]);
  expect(await store.sessions.find('one')).toEqual(before);
  const ended = { revokedReason: 'password_reset', revokedAt: now };
  for (const id of ['idle', 'live']) expect((await store.sessions.find(id))?.session).toMatchObject(ended);
  const kept = (await store.sessions.find('kept'))?.session;
  expect(kept).toMatchObject(method === 'revokeAll' ? ended : { revokedReason: null, revokedAt: null });
});

test('a sign-in that races a change of the password never leaves a session of the old one behind', async () => {
  const store = await storeWithSession();
  for (let round = 0; round < 50; round += 1) {
    const [oldHash, newHash] = [round === 0 ? 'hash of ada' : `hash ${round - 1}`, `hash ${round}`];
    const logins = ['a', 'b', 'c'].map((name) => store.transact([store.users.signIn(signIn('ada', oldHash)), store.sessions.insert(session(`${name}${round}`, 'ada'))]));
    const change = store.transact([
      store.users.replacePasswordHash({ id: 'ada', oldHash, newHash, changedAt: NOW }), store.sessions.revokeAll({ userId: 'ada', reason: 'password_changed', now: NOW }),
    ]);
    const late = ['d', 'e', 'f'].map((name) => store.transact([store.users.signIn(signIn('ada', oldHash)), store.sessions.insert(session(`${name}${round}`, 'ada'))]));
    await Promise.all([change, ...logins, ...late]);
    expect(await store.sessions.list('ada', NEWEST, 100)).toEqual([]);
  }
});

test('only sessions past their absolute end are purged', async () => {
  const store = await storeWithSession();
  expect(await store.sessions.purge(NOW + 9_999)).toBe(0);
  expect(await store.sessions.purge(NOW + 10_000)).toBe(1);
  await store.ping();
});

test('a change to an identifier that another account has is undone, alone and among other steps', async () => {
  const store = await openTestStore();
  for (const id of ['ada', 'bob']) await store.transact([store.users.insert(user(id))]);
  const taking = store.users.verifyEmail({ id: 'bob', email: 'ada@example.com', usernameKey: null, now: NOW });
  expect(await store.transact([taking])).toBeNull();
  expect(await store.transact([store.users.rename({ id: 'bob', username: 'Bob', usernameKey: 'bob' }), taking])).toBeNull();
  expect(await store.users.find('bob')).toEqual(user('bob'));
});
