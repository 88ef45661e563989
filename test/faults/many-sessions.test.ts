import { describe, expect, test } from 'vitest';
import { parseRefreshToken } from '../../src/core/refresh-tokens.ts';
import { SESSIONS_AT_ONCE } from '../../src/store/sessions.ts';
import { bearer, PASSWORD, startApp, type TestApp } from '../support/app.ts';
import { insertSessions, linesOf, pagesOf } from '../support/sessions.ts';

const JOHN = { email: 'john@example.com', password: PASSWORD };
const idOf = (refreshToken: string) => parseRefreshToken(refreshToken)!.sessionId;

describe('one user with 100,000 sessions of an older version, or 20,000', () => {
  const MANY = 100_000;
  /** Enough for many transactions; the other ways to end sessions run the same steps. */
  const SEVERAL = 20_000;
  /** Watches what the store is asked to do while the work goes on, and keeps asking for somebody else. */
  async function watch(test: TestApp, work: () => Promise<{ statusCode: number }>) {
    const { store } = test.app;
    const jane = await test.register('jane@example.com');
    const { transact } = store;
    const changed: number[] = [];
    store.transact = async (steps) => {
      const counts = await transact(steps);
      changed.push((counts ?? []).reduce((sum, count) => sum + count, 0));
      return counts;
    };
    const others = { done: false, served: 0 };
    const other = (async () => {
      while (!others.done) {
        expect((await test.get('/users/me', jane.accessToken)).statusCode).toBe(200);
        others.served += 1;
      }
    })();
    const answer = await work();
    others.done = true;
    await other;
    store.transact = transact;
    expect(answer.statusCode).toBeLessThan(300);
    return { served: others.served, transactions: changed.length, largest: Math.max(...changed) };
  }

  /** However long the work takes: no transaction changes more rows than fit into one, and others are served between them. */
  function expectBounded({ served, transactions, largest }: Awaited<ReturnType<typeof watch>>, ended = SEVERAL) {
    expect(largest).toBeLessThanOrEqual(2 * SESSIONS_AT_ONCE);
    expect(transactions).toBeGreaterThanOrEqual(ended / SESSIONS_AT_ONCE - 1);
    expect(served).toBeGreaterThanOrEqual(transactions / 2);
  }

  async function start(count = SEVERAL) {
    const test = await startApp();
    const { accessToken, userId, refreshToken } = await test.register();
    await insertSessions(test, userId, count);
    return { test, userId, accessToken, id: idOf(refreshToken) };
  }

  test('a sign-in ends all but the 99 used last, in transactions of a bounded size, and others are served meanwhile', async () => {
    const { test, accessToken } = await start(MANY);
    expectBounded(await watch(test, () => test.post('/auth/login', JOHN)), MANY);
    const [page] = await pagesOf(test, accessToken);
    expect(page).toHaveLength(100);
    const used = page!.filter((id) => id.startsWith('many-')).map((id) => Number(id.slice(5)));
    expect(Math.min(...used)).toBe(MANY - 97); // they were used in this order, and two sessions have begun since
    expect(linesOf(test, 'session_limit')).toMatchObject([{ sessions_ended: MANY - 98 }]);
  });

  test('the list reads one page', async () => {
    const { test, accessToken } = await start();
    const { list } = test.app.store.sessions;
    const read: number[] = [];
    test.app.store.sessions.list = async (...args) => {
      const rows = await list(...args);
      read.push(rows.length);
      return rows;
    };
    expect((await test.get('/auth/sessions', accessToken)).json<{ sessions: unknown[]; next: string | null }>()).toMatchObject({ next: expect.any(String) });
    expect((await test.get('/auth/sessions?limit=1', accessToken)).json<{ sessions: unknown[]; next: string | null }>().sessions).toHaveLength(1);
    expect(read).toEqual([101, 2]);
  });

  test('signing out elsewhere keeps this session, and ends the others in transactions of a bounded size', async () => {
    const { test, accessToken, id } = await start();
    expectBounded(await watch(test, () => test.post('/auth/logout?scope=others', undefined, bearer(accessToken))));
    expect(await pagesOf(test, accessToken)).toEqual([[id]]);
    expect(linesOf(test, 'signed_out')).toMatchObject([{ sessions_ended: SEVERAL }]);
  });

  test('a change of the password ends them all', async () => {
    const { test, accessToken, userId } = await start();
    const change = { old_password: PASSWORD, new_password: 'another long passphrase' };
    expectBounded(await watch(test, () => test.post('/auth/change-password', change, bearer(accessToken))));
    expect(linesOf(test, 'password_changed')).toMatchObject([{ sessions_ended: SEVERAL + 1 }]);
    const rows = await test.app.store.sessions.list(userId, { createdAt: Number.MAX_SAFE_INTEGER, id: '' }, 10);
    expect(rows).toHaveLength(1);
  });

  test('a reset of the password ends them all', async () => {
    const { test, userId } = await start();
    await test.post('/auth/forgot-password', { email: JOHN.email });
    const token = (await test.mails()).at(-1)!.token!;
    expectBounded(await watch(test, () => test.post('/auth/change-password', { token, new_password: 'another long passphrase' })));
    const rows = await test.app.store.sessions.list(userId, { createdAt: Number.MAX_SAFE_INTEGER, id: '' }, 10);
    expect(rows).toEqual([]);
  });

  test('the account’s deletion deletes them all, also those that have ended', async () => {
    const { test, accessToken, userId } = await start();
    await insertSessions(test, userId, SEVERAL, { revokedAt: test.clock.now, prefix: 'ended-' });
    const watched = await watch(test, () => test.request({
      method: 'DELETE', url: '/users/me', headers: bearer(accessToken), payload: { password: PASSWORD },
    }));
    expectBounded(watched, 3 * SEVERAL); // half of them are ended and deleted, the others only deleted
    expect(await test.app.store.users.find(userId)).toBeUndefined();
    expect(await test.app.store.sessions.find('many-1')).toBeUndefined();
    expect(await test.app.store.sessions.find('ended-1')).toBeUndefined();
  });
});
