import { describe, expect, test, vi } from 'vitest';
import { bearer, PASSWORD, startApp, type TestApp } from './support/app.ts';

const KNOWN = 'known@example.com';
const UNKNOWN = 'other@example.com';
const QUIET = { REQUIRE_EMAIL_VERIFICATION: 'true' };
const LIMITED = { RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1000' };

type Answer = Awaited<ReturnType<TestApp['request']>>;
type Ask = (testApp: TestApp, email: string, remoteAddress: string) => Promise<Answer>;

const ask = (url: string, payload: (email: string) => object): Ask => (testApp, email, remoteAddress) =>
  testApp.request({ method: 'POST', url, payload: payload(email), remoteAddress });

/** The four routes to which anybody can give an address. */
const ROUTES: [string, Ask][] = [
  ['register', ask('/auth/register', (email) => ({ email, password: 'a passphrase of mallory' }))],
  ['register, with a username', ask('/auth/register', (email) => ({ email, username: 'mallory', password: 'a passphrase of mallory' }))],
  ['login', ask('/auth/login', (email) => ({ email, password: 'a wrong guess' }))],
  ['forgot-password', ask('/auth/forgot-password', (email) => ({ email }))],
  ['verify-email/resend', ask('/auth/verify-email/resend', (email) => ({ email }))],
];

/** Everything of an answer but what differs from request to request: its id, the time, and the mark in the cookie of a sign-up. */
function readAnswer(answer: Answer) {
  const valueOf = (name: string, value: unknown) => {
    if (['date', 'x-request-id'].includes(name)) return 'differs';
    return name === 'set-cookie' ? String(value).replace(/^registrant=[\w-]{12}\.[\w-]{43};/, 'registrant=MARK;') : value;
  };
  const headers = Object.entries(answer.headers).map(([name, value]) => [name, valueOf(name, value)]);
  return { status: answer.statusCode, body: answer.body.replaceAll(String(answer.headers['x-request-id']), 'id'), headers };
}

async function startWithKnown(verified: boolean, env: Record<string, string> = {}) {
  const testApp = await startApp({ ...QUIET, ...env });
  await testApp.post('/auth/register', { email: KNOWN, password: PASSWORD });
  const [mail] = await testApp.mails();
  if (verified) await testApp.post('/auth/verify-email', { token: mail!.token, password: PASSWORD });
  return testApp;
}

describe.each(ROUTES)('%s answers the same, byte for byte, for an address that has an account and one that has none', (_name, request) => {
  test.each([['a verified account', true], ['one that is not verified yet', false]])('(%s)', async (_kind, verified) => {
    const testApp = await startWithKnown(verified);
    const known = readAnswer(await request(testApp, KNOWN, '203.0.113.1'));
    expect([200, 202, 401]).toContain(known.status);
    expect(readAnswer(await request(testApp, UNKNOWN, '203.0.113.2'))).toEqual(known);
  });

  test('(again and again, with the limits on)', async () => {
    const { mails, ...testApp } = await startWithKnown(true, LIMITED);
    const answers = async (email: string, remoteAddress: string) => {
      const list: object[] = [];
      for (let times = 0; times < 12; times += 1) list.push(readAnswer(await request({ ...testApp, mails }, email, remoteAddress)));
      return list;
    };
    expect(await answers(UNKNOWN, '203.0.113.2')).toEqual(await answers(KNOWN, '203.0.113.1'));
    await mails();
  });

  test('(by the same work: as many hashes, and the same statements in the same order)', async () => {
    const testApp = await startWithKnown(true, LIMITED);
    const { app } = testApp;
    const spies = [vi.spyOn(app.passwords, 'hash'), vi.spyOn(app.passwords, 'verify'), vi.spyOn(app.store.throttles, 'count'), vi.spyOn(app.store.throttles, 'take')];
    const transact = vi.spyOn(app.store, 'transact');
    const work = async (email: string) => {
      [...spies, transact].forEach((spy) => spy.mockClear());
      await request(testApp, email, '203.0.113.1');
      return { calls: spies.map((spy) => spy.mock.calls.length), statements: transact.mock.calls.map(([steps]) => steps.map(({ statement }) => statement)) };
    };
    const known = await work(KNOWN);
    expect(known.calls.some(Boolean) || known.statements.flat().length > 2).toBe(true);
    const unknown = await work(UNKNOWN);
    expect(unknown.calls).toEqual(known.calls);
    expect(unknown.statements.map((list) => list.length)).toEqual(known.statements.map((list) => list.length));
    unknown.statements.flat().forEach((statement, index) => expect(statement).toBe(known.statements.flat()[index]));
  });
});

test('only the mailbox learns which it was', async () => {
  const testApp = await startWithKnown(true);
  for (const [, request] of ROUTES) for (const email of [KNOWN, UNKNOWN]) await request(testApp, email, '203.0.113.1');
  const sent = await testApp.mails();
  const pagesTo = (email: string) => sent.filter(({ to }) => to === email).map(({ link }) => /[\w-]+(?=#)/.exec(link!)?.[0]);
  expect(pagesTo(KNOWN)).toEqual(['reset-password', 'reset-password', 'reset-password']);
  expect(pagesTo(UNKNOWN)).toEqual(['verify-email', 'reset-password', 'reset-password', 'verify-email']); // registered by the first
});

test('nor does a signed-in user learn from a change of the address, or from the mails that follow', async () => {
  const testApp = await startWithKnown(true);
  await testApp.post('/auth/register', { email: 'mallory@example.com', password: PASSWORD });
  await testApp.post('/auth/verify-email', { token: (await testApp.mails())[0]!.token, password: PASSWORD });
  const { accessToken } = await testApp.login('mallory@example.com');
  const change = async (email: string) => {
    const answer = await testApp.request({ method: 'PATCH', url: '/users/me', headers: bearer(accessToken), payload: { email, password: PASSWORD } });
    const own = (await testApp.mails()).filter(({ to }) => to === 'mallory@example.com').map(({ text }) => text.replaceAll(email, 'address'));
    return { answer: readAnswer(answer), own };
  };
  const known = await change(KNOWN);
  expect(known).toMatchObject({ answer: { status: 200 }, own: [expect.any(String)] });
  expect(await change(UNKNOWN)).toEqual(known);
});
