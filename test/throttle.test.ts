import { describe, expect, test, vi } from 'vitest';
import { PasswordQueueFull } from '../src/core/hash-queue.ts';
import { parseMarks } from '../src/core/devices.ts';
import { bucketKey, forgetAttempts, takeMail } from '../src/core/throttle.ts';
import { bearer, DAY_MS, PASSWORD, problemOf, startApp, temporaryFolder, type TestApp, tokensOf } from './support/app.ts';
import { openMetrics } from './support/metrics.ts';

type Answer = Awaited<ReturnType<TestApp['request']>>;
type Identifier = { email: string } | { username: string };

/** As in production, but for the cost of a hash. */
const LIMITED = { RATE_LIMIT_ENABLED: 'true' };
const JOHN = { email: 'john@example.com' };
const HOUR_MS = 3_600_000;

let lastAddress = 0;
/** One request from an address that was not seen before. */
const fromNewAddress = ({ request }: TestApp, url: string, payload: object, headers: Record<string, string> = {}) => {
  lastAddress += 1;
  return request({ method: 'POST', url, payload, headers, remoteAddress: `10.${lastAddress >> 16}.${(lastAddress >> 8) & 255}.${lastAddress & 255}` });
};
const attempt = (testApp: TestApp, identifier: Identifier, password: string, device?: string) =>
  fromNewAddress(testApp, '/auth/login', { ...identifier, password }, device === undefined ? {} : { cookie: `device=${device}` });
const guess = (testApp: TestApp, identifier: Identifier = JOHN, device?: string) => attempt(testApp, identifier, 'a wrong guess', device);
const guessTimes = async (testApp: TestApp, times: number, identifier: Identifier = JOHN, device?: string) => {
  const problems: string[] = [];
  for (let time = 0; time < times; time += 1) problems.push(problemOf(await guess(testApp, identifier, device)));
  return problems;
};
const times = <Value>(count: number, value: Value) => Array.from({ length: count }, () => value);
const WRONG = '401 invalid_credentials';
const THROTTLED = '429 too_many_attempts';

/** Signs up, and yields what the device then has to show. */
async function signUp({ post }: TestApp, identifiers: object = JOHN) {
  const answer = await post('/auth/register', { ...identifiers, password: PASSWORD });
  expect(answer.statusCode).toBe(201);
  return { ...tokensOf(answer), device: deviceIn(answer) };
}
const deviceIn = (answer: Answer) => answer.cookies.find(({ name }) => name === 'device')!.value;
const countOf = (answers: Answer[], status: number) => answers.filter(({ statusCode }) => statusCode === status).length;
const retryAfter = (answer: Answer) => Number(answer.headers['retry-after']);

/** Guesses as soon as that is allowed, until the next time is further away than the time given; yields the number of verified guesses. */
async function guessPatiently(testApp: TestApp, longestWaitMs: number, identifier: Identifier = JOHN, device?: string) {
  for (let verified = 0; ; ) {
    const answer = await guess(testApp, identifier, device);
    if (answer.statusCode === 401) verified += 1;
    else if (retryAfter(answer) * 1000 > longestWaitMs) return verified;
    else testApp.clock.now += retryAfter(answer) * 1000;
  }
}

describe('a thousand wrong passwords for one account, from a thousand addresses', () => {
  test('at once: five are verified, and the owner signs in on a known device while they last', async () => {
    const metrics = await openMetrics();
    const testApp = await startApp({ ...LIMITED, ...metrics.env });
    const { device } = await signUp(testApp);
    const verify = vi.spyOn(testApp.app.passwords, 'verify');
    const guesses = Array.from({ length: 1000 }, () => guess(testApp));
    const owners = await Promise.all(Array.from({ length: 5 }, () => attempt(testApp, JOHN, PASSWORD, device)));
    const answers = await Promise.all(guesses);
    expect(countOf(owners, 200)).toBe(5);
    expect([countOf(answers, 401), countOf(answers, 429)]).toEqual([5, 995]);
    expect(verify.mock.calls.filter(([password]) => password !== PASSWORD)).toHaveLength(5);
    const events = testApp.events();
    expect([events.filter((event) => event === 'login_refused').length, events.filter((event) => event === 'login_throttled').length]).toEqual([5, 995]);
    const logins = (outcome: string) => metrics.value(`keyturn_logins_total{outcome="${outcome}"}`);
    expect([await logins('signed_in'), await logins('refused'), await logins('throttled')]).toEqual([5, 5, 995]);
  });

  test('in waves over days, each as soon as it may: 40 are verified, not sooner than in a day, and then no more; the owner signs in between, and gives them no fresh guesses', async () => {
    const testApp = await startApp(LIMITED);
    let { device } = await signUp(testApp);
    const start = testApp.clock.now;
    let verified = 0;
    let wait = 0;
    for (let wave = 0; wave < 50; wave += 1) {
      const answers = await Promise.all(Array.from({ length: 20 }, () => guess(testApp)));
      verified += countOf(answers, 401);
      expect(countOf(answers, 401) + countOf(answers, 429)).toBe(20);
      const owner = await attempt(testApp, JOHN, PASSWORD, device);
      expect(owner.statusCode).toBe(200);
      device = deviceIn(owner);
      wait = retryAfter(await guess(testApp));
      if (wait < 2 * 3600) testApp.clock.now += wait * 1000;
    }
    expect(verified).toBe(40);
    expect(testApp.clock.now - start).toBeGreaterThan(DAY_MS);
    expect(wait).toBeGreaterThan(29 * 86_400);
    expect((await attempt(testApp, JOHN, PASSWORD)).statusCode).toBe(429);
  });

  test('by both of its identifiers: each is stopped by itself, and together they are under 100', async () => {
    const testApp = await startApp({ ...LIMITED, LOGIN_ATTEMPTS_LIMIT: '49' });
    const { device } = await signUp(testApp, { ...JOHN, username: 'john' });
    expect(await guessTimes(testApp, 6)).toEqual([...times(5, WRONG), THROTTLED]);
    expect(await guessTimes(testApp, 6, { username: 'JOHN' })).toEqual([...times(5, WRONG), THROTTLED]);
    const verified = 10 + (await guessPatiently(testApp, 2 * HOUR_MS)) + (await guessPatiently(testApp, 2 * HOUR_MS, { username: 'john' }));
    expect(verified).toBe(98);
    expect((await attempt(testApp, JOHN, PASSWORD, device)).statusCode).toBe(200);
  });

  test('with a right one among them: it is verified or has to wait, like any other', async () => {
    const testApp = await startApp(LIMITED);
    await signUp(testApp);
    const guesses = Array.from({ length: 3 }, () => guess(testApp));
    const right = attempt(testApp, JOHN, PASSWORD);
    const late = Array.from({ length: 996 }, () => guess(testApp));
    expect([200, 429]).toContain((await right).statusCode);
    const answers = await Promise.all([...guesses, ...late]);
    expect(countOf(answers, 401)).toBeLessThanOrEqual(3 + 5);
    expect((await attempt(testApp, JOHN, PASSWORD)).statusCode).toBe(429);
  });
});

describe('pauses', () => {
  test('begin after the fifth wrong password at a second, and double up to an hour', async () => {
    const testApp = await startApp(LIMITED);
    await signUp(testApp);
    expect(await guessTimes(testApp, 5)).toEqual(times(5, WRONG));
    const waits: number[] = [];
    for (let time = 0; time < 15; time += 1) {
      const answer = await guess(testApp);
      expect(answer.json()).toMatchObject({ code: 'too_many_attempts', detail: `Too many attempts; try again in ${retryAfter(answer)} s` });
      waits.push(retryAfter(answer));
      testApp.clock.now += retryAfter(answer) * 1000 - 1;
      expect((await guess(testApp)).statusCode).toBe(429);
      testApp.clock.now += 1;
      expect((await guess(testApp)).statusCode).toBe(401);
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600, 3600]);
  });

  test('survive a restart', async () => {
    const DATA_DIR = temporaryFolder();
    const before = await startApp({ ...LIMITED, DATA_DIR });
    await signUp(before);
    expect(await guessTimes(before, 6)).toEqual([...times(5, WRONG), THROTTLED]);
    await before.app.close();
    const after = await startApp({ ...LIMITED, DATA_DIR });
    after.clock.now = before.clock.now;
    expect(await guessTimes(after, 1)).toEqual([THROTTLED]);
    after.clock.now += 1000;
    expect(await guessTimes(after, 2)).toEqual([WRONG, THROTTLED]);
  });

  test('are forgotten 30 days after the last, and what is forgotten is purged', async () => {
    const testApp = await startApp(LIMITED);
    await signUp(testApp);
    expect(await guessTimes(testApp, 6)).toEqual([...times(5, WRONG), THROTTLED]);
    testApp.clock.now += 1000 + 30 * DAY_MS - 1;
    expect(await guessTimes(testApp, 2)).toEqual([WRONG, THROTTLED]);
    testApp.clock.now += 2000 + 30 * DAY_MS;
    expect(await guessTimes(testApp, 6)).toEqual([...times(5, WRONG), THROTTLED]);
    const { throttles } = testApp.app.store;
    const counted = () => throttles.find(bucketKey(testApp.app, 'email', JOHN.email));
    testApp.clock.now += 1000 + 30 * DAY_MS;
    await throttles.purge(testApp.clock.now - 1);
    expect(await counted()).toMatchObject({ count: 5 });
    await throttles.purge(testApp.clock.now);
    expect(await counted()).toBeUndefined();
  });

  test('end with a right password', async () => {
    const testApp = await startApp(LIMITED);
    await signUp(testApp);
    for (let round = 0; round < 3; round += 1) {
      expect(await guessTimes(testApp, 4)).toEqual(times(4, WRONG));
      expect((await attempt(testApp, JOHN, PASSWORD)).statusCode).toBe(200);
    }
    expect(await guessTimes(testApp, 6)).toEqual([...times(5, WRONG), THROTTLED]);
    testApp.clock.now += 1000;
    expect((await attempt(testApp, JOHN, PASSWORD)).statusCode).toBe(200);
    expect(await guessTimes(testApp, 5)).toEqual(times(5, WRONG));
  });

  test('are for one account: others are free of them', async () => {
    const testApp = await startApp(LIMITED);
    await signUp(testApp);
    await signUp(testApp, { email: 'jane@example.com' });
    await guessTimes(testApp, 6);
    expect((await attempt(testApp, { email: 'jane@example.com' }, PASSWORD)).statusCode).toBe(200);
    expect((await attempt(testApp, { username: 'john_example_com' }, PASSWORD)).statusCode).toBe(401);
  });

  test('are there also for whoever writes another address, case or path', async () => {
    const testApp = await startApp({ ...LIMITED, RATE_LIMIT_CREDENTIALS_PER_MINUTE: '100' });
    await signUp(testApp);
    const statuses: number[] = [];
    for (let time = 0; time < 10; time += 1) {
      statuses.push((await testApp.post(['/auth/login', '/login', '/api/login/'][time % 3]!, { email: ['john@example.com', 'JOHN@example.com'][time % 2], password: 'a wrong guess' }, {
        'x-forwarded-for': `203.0.113.${time}`, 'x-real-ip': `203.0.113.${time}`, forwarded: `for=203.0.113.${time}`, 'user-agent': `agent ${time}`,
      })).statusCode);
    }
    expect(statuses).toEqual([...times(5, 401), ...times(5, 429)]);
  });

  test('are off where rate limits are', async () => {
    const testApp = await startApp();
    await signUp(testApp);
    expect(await guessTimes(testApp, 50)).toEqual(times(50, WRONG));
    expect((await attempt(testApp, JOHN, PASSWORD)).statusCode).toBe(200);
  });
});

describe('an account that does not exist', () => {
  test('is answered to the byte like one that does, through free guesses, pauses, the limit and its end', async () => {
    const testApp = await startApp({ ...LIMITED, LOGIN_ATTEMPTS_LIMIT: '8' });
    await signUp(testApp, { ...JOHN, username: 'john' });
    const strip = ({ statusCode, headers: { date: _date, 'x-request-id': _id, ...headers }, body }: Answer) => ({ statusCode, headers, body: body.replace(/"request_id":"[^"]+"/, '') });
    const seen = new Set<number>();
    const steps = [...times(7, 0), ...[1000, 1, 2000, 0, 4000, 0, HOUR_MS, 29 * DAY_MS, 2 * DAY_MS], ...times(6, 0)];
    for (const step of steps) {
      testApp.clock.now += step;
      for (const [real, unreal] of [[JOHN, { email: 'nobody@example.com' }], [{ username: 'john' }, { username: 'nobody' }]] as const) {
        const [one, other] = [await guess(testApp, real), await guess(testApp, unreal)];
        expect(strip(other)).toEqual(strip(one));
        seen.add(one.statusCode);
      }
    }
    expect(seen).toEqual(new Set([401, 429]));
    const throttled = testApp.logLines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ event }) => event === 'login_throttled');
    expect(new Set(throttled.map(({ user_id }) => user_id)).size).toBe(2);
    for (const line of throttled) expect(line).toMatchObject({ level: 40, ip: expect.stringMatching(/^10\./), request_id: expect.any(String) });
    expect(throttled.some(({ user_id }) => user_id === null)).toBe(true);
  });
});

describe('a known device', () => {
  test('has a limit of its own, which is not that of strangers, nor of another device, and which a right password resets', async () => {
    const testApp = await startApp(LIMITED);
    const { device } = await signUp(testApp);
    const other = deviceIn(await attempt(testApp, JOHN, PASSWORD));
    expect(await guessPatiently(testApp, 2 * HOUR_MS, JOHN, device)).toBe(40);
    expect((await attempt(testApp, JOHN, PASSWORD, device)).statusCode).toBe(429);
    expect((await attempt(testApp, JOHN, PASSWORD, other)).statusCode).toBe(200);
    expect(await guessTimes(testApp, 4, JOHN, other)).toEqual(times(4, WRONG));
    expect((await attempt(testApp, JOHN, PASSWORD, other)).statusCode).toBe(200);
    expect(await guessTimes(testApp, 6, JOHN, other)).toEqual([...times(5, WRONG), THROTTLED]);
    expect((await attempt(testApp, JOHN, PASSWORD)).statusCode).toBe(200);
  });

  test('is also the one on which its owner chose a new password by mail, while strangers guess on', async () => {
    const testApp = await startApp(LIMITED);
    await signUp(testApp);
    await guessTimes(testApp, 6);
    await fromNewAddress(testApp, '/auth/forgot-password', JOHN);
    const { token } = (await testApp.mails()).at(-1)!;
    const reset = await fromNewAddress(testApp, '/auth/change-password', { token, new_password: 'another long passphrase' });
    expect(reset.statusCode).toBe(200);
    expect(await guessTimes(testApp, 6)).toEqual([...times(5, WRONG), THROTTLED]);
    expect((await attempt(testApp, JOHN, 'another long passphrase')).statusCode).toBe(429);
    expect((await attempt(testApp, JOHN, 'another long passphrase', deviceIn(reset))).statusCode).toBe(200);
  });

  test('of two accounts: a thief of its cookie cannot reset the guesses against the one by signing in to the other', async () => {
    const testApp = await startApp(LIMITED);
    const mallory = { email: 'mallory@example.com' };
    await signUp(testApp, mallory);
    let { device } = await signUp(testApp);
    let verified = 0;
    for (let round = 0; round < 20; round += 1) {
      verified += countOf([await guess(testApp, JOHN, device)], 401);
      const own = await attempt(testApp, mallory, PASSWORD, device);
      expect(own.statusCode).toBe(200);
      device = deviceIn(own);
    }
    expect(verified).toBe(5);
  });

  test('of four accounts: each has its limit', async () => {
    const testApp = await startApp(LIMITED);
    const emails = ['a', 'b', 'c', 'd'].map((name) => `${name}@example.com`);
    let device: string | undefined;
    for (const email of emails) device = deviceIn(await fromNewAddress(testApp, '/auth/register', { email, password: PASSWORD }, { cookie: `device=${device}` }));
    expect(device!.split('~')).toHaveLength(4);
    for (const email of emails) expect(await guessTimes(testApp, 6, { email }, device)).toEqual([...times(5, WRONG), THROTTLED]);
    for (const email of emails) expect(await guessTimes(testApp, 1, { email })).toEqual([WRONG]);
  });
});

describe('an ordinary sign-in', () => {
  test('asks the database once and writes once', async () => {
    const testApp = await startApp(LIMITED);
    const { device } = await signUp(testApp);
    const { store } = testApp.app;
    const spies = [vi.spyOn(store.users, 'findForSignIn'), vi.spyOn(store, 'transact'), ...(['take', 'count', 'find', 'giveBack'] as const).map((name) => vi.spyOn(store.throttles, name))];
    for (const cookie of [undefined, device]) expect((await attempt(testApp, JOHN, PASSWORD, cookie)).statusCode).toBe(200);
    expect(spies.map(({ mock }) => mock.calls.length)).toEqual([2, 2, 0, 0, 0, 0]);
  });

  test('waits for its turn when there are others of the same account: twenty at once all pass', async () => {
    const testApp = await startApp(LIMITED);
    await signUp(testApp);
    const answers = await Promise.all(Array.from({ length: 20 }, () => attempt(testApp, JOHN, PASSWORD)));
    expect(countOf(answers, 200)).toBe(20);
    expect(await guessTimes(testApp, 6)).toEqual([...times(5, WRONG), THROTTLED]);
  });

  test('past those has to come back in a second, and nothing is counted', async () => {
    const testApp = await startApp(LIMITED);
    await signUp(testApp);
    const answers = await Promise.all(Array.from({ length: 200 }, () => attempt(testApp, JOHN, PASSWORD)));
    expect(countOf(answers, 200)).toBeGreaterThanOrEqual(20);
    expect(countOf(answers, 429)).toBe(200 - countOf(answers, 200));
    expect(new Set(answers.filter(({ statusCode }) => statusCode === 429).map(retryAfter))).toEqual(new Set([1]));
    expect((await attempt(testApp, JOHN, PASSWORD)).statusCode).toBe(200);
  });

  test('that finds the password changed meanwhile looks again', async () => {
    const testApp = await startApp(LIMITED);
    const { userId } = await signUp(testApp);
    const { app } = testApp;
    const { verify } = app.passwords;
    await guess(testApp);
    vi.spyOn(app.passwords, 'verify').mockImplementationOnce(async (password, hash, name) => {
      const newHash = await app.passwords.hash(password);
      await app.store.transact([app.store.users.replacePasswordHash({ id: userId, oldHash: hash!, newHash, changedAt: app.now() })]);
      return verify(password, hash, name);
    });
    expect((await attempt(testApp, JOHN, PASSWORD)).statusCode).toBe(200);
  });
});

describe('an attempt that ends in 503', () => {
  test('costs nothing, whether the queue was full before it or filled up meanwhile', async () => {
    const testApp = await startApp(LIMITED);
    await signUp(testApp);
    const { app } = testApp;
    const counted = async () => (await app.store.throttles.find(bucketKey(app, 'email', JOHN.email)))?.count;
    const full = async () => { throw new PasswordQueueFull(); };
    vi.spyOn(app.passwords, 'verify').mockImplementationOnce(full);
    expect(await guessTimes(testApp, 1)).toEqual(['503 overloaded']);
    expect(await counted()).toBeUndefined();
    expect(await guessTimes(testApp, 4)).toEqual(times(4, WRONG));
    vi.spyOn(app.passwords, 'hasRoom').mockReturnValueOnce(false);
    expect(await guessTimes(testApp, 1)).toEqual(['503 overloaded']);
    expect(await counted()).toBe(4);
    vi.spyOn(app.passwords, 'verify').mockImplementationOnce(full);
    expect(await guessTimes(testApp, 1)).toEqual(['503 overloaded']);
    expect(await counted()).toBe(4);
    expect(await guessTimes(testApp, 2)).toEqual([WRONG, THROTTLED]);
  });

  test('under a flood for many accounts: as many are counted as were verified', async () => {
    const testApp = await startApp({ ...LIMITED, PASSWORD_QUEUE_LIMIT: '1', ARGON2_MEMORY_KIB: '16384' });
    const identifiers = Array.from({ length: 20 }, (_, index) => ({ username: `user${index}` }));
    for (let round = 0; round < 3; round += 1) {
      const rounds = await Promise.all(identifiers.map(async (identifier) => {
        const answers = await Promise.all(times(3, identifier).map((each) => guess(testApp, each)));
        return { identifier, verified: countOf(answers, 401), full: countOf(answers, 503) };
      }));
      expect(rounds.some(({ full }) => full > 0)).toBe(true);
      for (const { identifier, verified } of rounds) {
        const key = bucketKey(testApp.app, 'username', identifier.username);
        expect((await testApp.app.store.throttles.find(key))?.count ?? 0).toBe(verified);
        await testApp.app.store.transact([testApp.app.store.throttles.clear(key)]);
      }
    }
  });

  test('and a right password does not wait for a better hash when the queue is full', async () => {
    const DATA_DIR = temporaryFolder();
    const before = await startApp({ ...LIMITED, DATA_DIR });
    const { userId } = await signUp(before);
    const after = await startApp({ ...LIMITED, DATA_DIR, ARGON2_TIME_COST: '2' });
    const hashNow = async () => (await after.app.store.users.find(userId))!.passwordHash;
    const hash = await hashNow();
    vi.spyOn(after.app.passwords, 'hasRoom').mockReturnValueOnce(true).mockReturnValueOnce(false);
    expect((await attempt(after, JOHN, PASSWORD)).statusCode).toBe(200);
    expect(await hashNow()).toBe(hash);
    expect((await attempt(after, JOHN, PASSWORD)).statusCode).toBe(200);
    expect(await hashNow()).not.toBe(hash);
  });
});

describe('while SECRET_KEY is rotated over several copies', () => {
  const [OLD, NEW] = ['dGhlLW9sZC1rZXktb2YtdGhlLXRocm90dGxlcy10ZXN0', 'dGhlLW5ldy1rZXktb2YtdGhlLXRocm90dGxlcy10ZXN0'] as const;
  const startCopies = async () => {
    const before = await startApp({ ...LIMITED, LOGIN_ATTEMPTS_LIMIT: '6', SECRET_KEY: `${OLD},${NEW}` });
    return [before, await startApp({ ...LIMITED, LOGIN_ATTEMPTS_LIMIT: '6', SECRET_KEY: `${NEW},${OLD}`, DATA_DIR: before.folder })] as const;
  };

  test.each([['strangers', false], ['a known device', true]])('wrong passwords of %s are counted together, and stay counted', async (_name, known) => {
    const copies = await startCopies();
    const [before, after] = copies;
    const device = known ? (await signUp(before)).device : undefined;
    if (!known) await signUp(before);
    for (let time = 0; time < 6; time += 1) {
      for (const copy of copies) copy.clock.now += HOUR_MS;
      expect(problemOf(await guess(copies[time % 2]!, JOHN, device))).toBe(WRONG);
    }
    for (const copy of copies) {
      copy.clock.now += HOUR_MS;
      expect(problemOf(await attempt(copy, JOHN, PASSWORD, device))).toBe(THROTTLED);
    }
    expect((await before.app.store.throttles.find(bucketKey(after.app, 'email', JOHN.email)))).toBeUndefined();
  });

  test('a right password on one forgets the wrong ones of the other', async () => {
    const [before, after] = await startCopies();
    await signUp(before);
    await guessTimes(before, 3);
    expect((await attempt(after, JOHN, PASSWORD)).statusCode).toBe(200);
    expect(await guessTimes(before, 5)).toEqual(Array(5).fill(WRONG));
  });

  test('the password beside an access token is counted together, too', async () => {
    const copies = await startCopies();
    const { accessToken } = await signUp(copies[0]);
    for (let time = 0; time < 6; time += 1) {
      for (const copy of copies) copy.clock.now += time === 0 ? 0 : 60_000;
      const body = { old_password: 'a wrong guess', new_password: 'another long passphrase' };
      expect(problemOf(await copies[time % 2]!.post('/auth/change-password', body, bearer(accessToken)))).toBe(WRONG);
    }
    for (const copy of copies) {
      const body = { old_password: PASSWORD, new_password: 'another long passphrase' };
      expect(problemOf(await copy.post('/auth/change-password', body, bearer(accessToken)))).toBe(THROTTLED);
    }
  });
});

describe('the password that a signed-in user is asked for', () => {
  const change = ({ post }: TestApp, accessToken: string, old_password: string) =>
    post('/auth/change-password', { old_password, new_password: 'another long passphrase' }, bearer(accessToken));

  test('is throttled by session: a stolen access token does not guess on, and locks no other session out', async () => {
    const testApp = await startApp(LIMITED);
    const stolen = await signUp(testApp);
    const own = tokensOf(await attempt(testApp, JOHN, PASSWORD));
    for (let time = 0; time < 5; time += 1) expect(problemOf(await change(testApp, stolen.accessToken, 'a wrong guess'))).toBe(WRONG);
    const throttled = await change(testApp, stolen.accessToken, PASSWORD);
    expect([problemOf(throttled), retryAfter(throttled)]).toEqual([THROTTLED, 1]);
    expect((await attempt(testApp, JOHN, PASSWORD)).statusCode).toBe(200);
    expect((await change(testApp, own.accessToken, PASSWORD)).statusCode).toBe(200);
  });

  test('forgets wrong ones when it was right', async () => {
    const testApp = await startApp(LIMITED);
    const { accessToken } = await signUp(testApp);
    for (let time = 0; time < 4; time += 1) await change(testApp, accessToken, 'a wrong guess');
    const renamed = await testApp.request({ method: 'PATCH', url: '/users/me', headers: bearer(accessToken), payload: { username: 'john', password: PASSWORD } });
    expect(renamed.statusCode).toBe(200);
    for (let time = 0; time < 5; time += 1) expect(problemOf(await change(testApp, accessToken, 'a wrong guess'))).toBe(WRONG);
    expect(problemOf(await change(testApp, accessToken, 'a wrong guess'))).toBe(THROTTLED);
  });
});

describe('mails to one address', () => {
  const stranger = { userAgent: null, ip: '192.0.2.1', marks: [] };
  /** How many of so many requests at once send one. */
  const ask = async ({ app }: TestApp, count: number, ...[email, device, user]: [string, Parameters<typeof takeMail>[3], Parameters<typeof takeMail>[4]]) => {
    const results = await Promise.all(Array.from({ length: count }, () => app.store.transact(takeMail(app, 'reset_password', email, device, user))));
    return results.filter((rows) => rows !== null).length;
  };

  test('are three for a thousand requests, whether it has an account or not, and few over the days', async () => {
    const testApp = await startApp(LIMITED);
    await signUp(testApp);
    const [user] = await testApp.app.store.users.findByIdentifier(JOHN.email, null);
    expect(await ask(testApp, 1000, JOHN.email, stranger, user)).toBe(3);
    expect(await ask(testApp, 1000, 'nobody@example.com', stranger, undefined)).toBe(3);
    let sent = 0;
    for (let minute = 0; minute < 7 * 24 * 60; minute += 15) {
      testApp.clock.now += 15 * 60_000;
      sent += await ask(testApp, 1, 'JOHN@example.com', stranger, user);
    }
    expect(sent).toBe(12);
    testApp.clock.now += 2 * DAY_MS;
    expect(await ask(testApp, 10, JOHN.email, stranger, user)).toBe(3);
  });

  test('are three for a thousand reset requests from a thousand addresses over HTTP', async () => {
    const testApp = await startApp(LIMITED);
    await signUp(testApp);
    await testApp.mails();
    for (const [email, expected] of [[JOHN.email, 3], ['nobody@example.com', 0]] as const) {
      const answers = await Promise.all(Array.from({ length: 1000 }, () => fromNewAddress(testApp, '/auth/forgot-password', { email })));
      expect(countOf(answers, 200)).toBe(1000);
      const mails = await testApp.mails();
      expect(mails.map(({ to }) => to)).toEqual(times(expected, JOHN.email));
    }
  });

  test('are no fewer for its owner’s known devices when strangers have used theirs up; and no more for who signs up with another’s address', async () => {
    const testApp = await startApp(LIMITED);
    const { app, post } = testApp;
    const { device } = await signUp(testApp);
    const [user] = await app.store.users.findByIdentifier(JOHN.email, null);
    const known = (value: string) => ({ ...stranger, marks: marksIn(testApp, value) });
    await ask(testApp, 10, JOHN.email, stranger, user);
    expect(await ask(testApp, 10, JOHN.email, known(device), user)).toBe(3);
    const again = deviceIn(await post('/auth/login', { ...JOHN, password: PASSWORD }));
    expect(await ask(testApp, 10, JOHN.email, known(again), user)).toBe(0);
    expect(await ask(testApp, 10, 'victim@example.com', known(again), user)).toBe(3);
    expect(await ask(testApp, 10, 'victim@example.com', stranger, { ...user!, email: 'victim@example.com' })).toBe(0);
  });

  test('and sign-ins are free again when its owner has shown to read them', async () => {
    const testApp = await startApp(LIMITED);
    await signUp(testApp, { ...JOHN, username: 'john' });
    const { store } = testApp.app;
    const [user] = await store.users.findByIdentifier(JOHN.email, null);
    await guessTimes(testApp, 6);
    await guessTimes(testApp, 6, { username: 'john' });
    await ask(testApp, 10, JOHN.email, stranger, user);
    await store.transact(forgetAttempts(testApp.app, user!));
    for (const identifier of [JOHN, { username: 'john' }]) expect(await guessTimes(testApp, 1, identifier)).toEqual([WRONG]);
    expect(await ask(testApp, 1, JOHN.email, stranger, user)).toBe(1);
    expect(forgetAttempts(testApp.app, { ...user!, email: null, usernameKey: null })).toEqual([]);
  });

  test('are not counted where limits are off', async () => {
    const testApp = await startApp();
    expect(await ask(testApp, 10, JOHN.email, stranger, undefined)).toBe(10);
    expect(forgetAttempts(testApp.app, { email: JOHN.email, usernameKey: null } as Parameters<typeof forgetAttempts>[1])).toEqual([]);
  });
});

function marksIn({ app }: TestApp, device: string) {
  return parseMarks(app, [device]);
}

test('the names of buckets are HMACs: neither the database nor another key tells what was typed', async () => {
  const [one, other] = [await startApp(LIMITED), await startApp(LIMITED)];
  const key = bucketKey(one.app, 'email', JOHN.email);
  expect(key).toMatch(/^[\w-]{43}$/);
  expect(bucketKey(one.app, 'username', JOHN.email)).not.toBe(key);
  if (one.app.config.secrets.derivedKeys[0].id !== other.app.config.secrets.derivedKeys[0].id) expect(bucketKey(other.app, 'email', JOHN.email)).not.toBe(key);
  await guess(one);
  expect(await one.app.store.throttles.find(key)).toEqual({ key, count: 1, blockedUntil: one.clock.now, expiresAt: one.clock.now + 30 * DAY_MS });
});
