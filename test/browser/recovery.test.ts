import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { temporaryFolder } from '../support/app.ts';
import { launchChromium, testInChromium } from '../support/browser.ts';
import { startProxy } from '../support/proxy.ts';
import { startServer } from '../support/server.ts';
import { openTab, without, withoutAll } from '../support/tabs.ts';

const JOHN = 'john@example.com';
const LIFE_MS = 6000;
const SHORT = { ACCESS_TOKEN_EXPIRE_MINUTES: '0.1', REFRESH_GRACE_SECONDS: '2.8' };

/** Sets the page's clock; Node's own time and the browser's cookies keep theirs. */
const clockOff = (hours: number) => `{
  const real = Date;
  const now = () => real.now() + ${hours * 3_600_000};
  globalThis.Date = class extends real { constructor(...parts) { super(...(parts.length > 0 ? parts : [now()])); } static now() { return now(); } };
}`;
const ASLEEP = `performance.now = () => 1000; ${withoutAll}`;
const HIDDEN = `globalThis.isHidden = true; Object.defineProperty(Document.prototype, 'hidden', { get: () => isHidden }); ${withoutAll}`;

async function start() {
  const env = { ...SHORT, DATA_DIR: temporaryFolder() };
  const server = await startServer(env);
  const proxy = await startProxy(() => server.url);
  const { context } = await launchChromium();
  const origin = proxy.at('localhost');
  const first = await openTab(context, origin);
  await first.register(JOHN);
  const open = async (before = '') => {
    const tab = await openTab(context, origin, { before });
    await tab.becomes(JOHN);
    return tab;
  };
  const restart = async (pauseMs: number) => {
    expect(await server.stop('SIGTERM')).toBe(0);
    await sleep(pauseMs);
    await startServer({ ...env, PORT: new URL(server.url).port });
  };
  return { proxy, context, first, open, restart, requests: () => proxy.seen.filter(({ url }) => url === '/users/me').length };
}

type Tab = Awaited<ReturnType<typeof openTab>>;
const left = (tab: Tab) => tab.run<number>('keyturn.expiresIn()');

testInChromium('a wrong clock, an hour fast or slow, does no harm; a clock that stood still in sleep costs one repetition; a hidden tab waits', async () => {
  const { first, open, requests } = await start();
  const [fast, slow] = [await open(withoutAll), await open(withoutAll)];
  const tabs = [first, fast, slow];
  const asleep = await open(ASLEEP);
  const hidden = await open(HIDDEN);
  await fast.run(clockOff(1));
  await slow.run(clockOff(-1));
  await sleep(LIFE_MS + 200);
  for (const tab of tabs) expect(await left(tab), 'renewed ahead of time, unasked').toBeGreaterThan(0);
  expect(await left(hidden)).toBe(0);
  expect(await left(asleep)).toBeGreaterThan(LIFE_MS / 1000 - 1);
  const before = requests();
  for (const tab of [...tabs, hidden]) expect(await tab.ask()).toBe(`200 ${JOHN}`);
  expect(requests() - before, 'none of them was refused first').toBe(4);
  expect(await asleep.ask()).toBe(`200 ${JOHN}`);
  expect(requests() - before).toBe(6);

  await sleep(LIFE_MS + 200);
  expect(await left(hidden)).toBe(0);
  await hidden.run("isHidden = false; document.dispatchEvent(new Event('visibilitychange')); 0");
  await expect.poll(() => left(hidden)).toBeGreaterThan(0);
  for (const tab of [...tabs, asleep, hidden]) expect((await tab.seen()).filter((user) => user !== null)).toEqual([JOHN]);
});

testInChromium('the network cut for longer than an access token lives, the server stopped and started again: the client recovers by itself', async () => {
  const { first, open, context, restart } = await start();
  const bare = await open(withoutAll);
  const tabs = [first, bare, await open(without.channel)];
  const recovered = () => Promise.all(tabs.map((tab) => expect.poll(() => left(tab)).toBeGreaterThan(0)));

  await expect.poll(() => left(first)).toBeGreaterThan(LIFE_MS / 1000 - 1);
  await context.setOffline(true);
  await sleep(LIFE_MS + 200);
  for (const tab of tabs) expect([await tab.user(), await left(tab)]).toEqual([JOHN, 0]);
  expect(await bare.run("outcome(keyturn.fetch('/users/me'))")).toMatchObject({ name: 'KeyturnError', code: 'network' });
  await context.setOffline(false);
  await recovered();

  await restart(LIFE_MS);
  await recovered();
  for (const tab of tabs) {
    expect(await tab.ask()).toBe(`200 ${JOHN}`);
    expect((await tab.seen()).filter((user) => user !== null)).toEqual([JOHN]);
    expect((await tab.seen()).at(-1)).toBe(JOHN);
  }
});
