import type { BrowserContext } from 'playwright-core';
import { expect } from 'vitest';
import { startApp } from '../support/app.ts';
import { launchChromium, testInChromium } from '../support/browser.ts';
import { listen } from '../support/http.ts';
import { startProxy } from '../support/proxy.ts';
import { openTab } from '../support/tabs.ts';

const JOHN = 'john@example.com';
const WEEK_S = 7 * 86_400;
const NAMES = ['--host-resolver-rules=MAP *.test 127.0.0.1', '--ignore-certificate-errors'];

type Deployment = {
  /** Keyturn's host and path, and the host of the app */
  server: string; prefix?: string; app: string;
  scheme: 'http' | 'https';
  env?: (appOrigin: string) => Record<string, string>;
  cookie: object;
};

const strict = { sameSite: 'Strict', httpOnly: true, path: '/', session: false };
const overTls = { ...strict, name: expect.stringMatching(/^__Host-/), secure: true };
const overHttp = { ...strict, name: expect.not.stringMatching(/^__/), secure: false };
const byProxy = { TRUST_PROXY: '127.0.0.1' };

/** The table of src/client/README.md. */
const DEPLOYMENTS: Record<string, Deployment> = {
  'the same origin': { scheme: 'https', server: 'app.example.test', app: 'app.example.test', env: () => byProxy, cookie: { ...overTls, domain: 'app.example.test' } },
  'sub-domains of one site': {
    scheme: 'https', server: 'auth.example.test', app: 'app.example.test', env: (origin) => ({ ...byProxy, ALLOWED_ORIGINS: origin }),
    cookie: { ...overTls, domain: 'auth.example.test' },
  },
  'another site': {
    scheme: 'https', server: 'auth.service.test', app: 'www.shop.test', env: (origin) => ({ ...byProxy, ALLOWED_ORIGINS: `${origin},${origin.replace('shop', 'news')}`, COOKIE_SAMESITE: 'none' }),
    cookie: { ...overTls, sameSite: 'None', domain: 'auth.service.test', partitionKey: { topLevelSite: 'https://shop.test', hasCrossSiteAncestor: true } },
  },
  'behind a path prefix of a reverse proxy': {
    scheme: 'https', server: 'www.example.test', prefix: '/keyturn', app: 'www.example.test', env: () => byProxy, cookie: { ...overTls, domain: 'www.example.test' },
  },
  'plain http on localhost, on one port': { scheme: 'http', server: 'localhost', app: 'localhost', cookie: { ...overHttp, domain: 'localhost' } },
  'plain http on localhost, on another port': {
    scheme: 'http', server: 'localhost', app: 'localhost', env: (origin) => ({ ALLOWED_ORIGINS: origin }), cookie: { ...overHttp, domain: 'localhost' },
  },
};

/** The deployment, running, and Chromium with names for its hosts. The app is served by a proxy of its own where it has an origin of its own. */
async function deploy(name: string) {
  const { scheme, server: host, prefix = '', app: appHost, env = () => ({}), cookie } = DEPLOYMENTS[name]!;
  const tls = scheme === 'https';
  const late = { url: '' };
  const front = await startProxy(() => late.url, { tls, prefix });
  const apart = name.includes('another port') ? await startProxy(() => late.url, { tls }) : front;
  const origin = apart.at(appHost);
  const keyturn = await startApp(env(origin));
  late.url = `http://127.0.0.1:${await listen(keyturn.app)}`;
  return { ...keyturn, ...(await launchChromium(...NAMES)), front, origin, server: front.at(host) + prefix, cookie };
}

async function storedCookies(context: BrowserContext) {
  const page = await context.newPage();
  const devtools = await context.newCDPSession(page);
  const { cookies } = await devtools.send('Network.getAllCookies');
  await page.close();
  return cookies;
}

async function storedRefreshCookies(context: BrowserContext) {
  return (await storedCookies(context)).filter(({ name }) => name.endsWith('refresh_token'));
}

for (const name of Object.keys(DEPLOYMENTS)) {
  testInChromium(`on ${name}: sign up, reload, a second tab, sign out; the cookie is stored as promised`, async () => {
    const { context, origin, server, cookie, complaints } = await deploy(name);
    const tab = await openTab(context, origin, { server, resume: 'marked' });
    await tab.register(JOHN);
    for (const each of await storedCookies(context)) expect(each).toMatchObject(cookie);
    const [refreshCookie, ...others] = await storedRefreshCookies(context);
    expect(refreshCookie!.expires - Date.now() / 1000).toBeCloseTo(WEEK_S, -3);
    expect(others).toEqual([]);
    await tab.reload();
    await tab.becomes(JOHN);
    const second = await openTab(context, origin, { server });
    await second.becomes(JOHN);
    expect(await second.ask()).toBe(`200 ${JOHN}`);
    expect(await tab.run('keyturn.sessions().then((list) => list.length)')).toBe(1);
    await tab.run('keyturn.logout()');
    await second.becomes(null);
    expect(await storedRefreshCookies(context)).toEqual([]);
    expect(complaints).toEqual([]);
  });
}

testInChromium('on another site the session is of that one site, because its cookie is partitioned; without Partitioned it would not outlive the page', async () => {
  const { context, origin, server, front } = await deploy('another site');
  const [tab, news] = [await openTab(context, origin, { server }), await openTab(context, front.at('www.news.test'), { server })];
  await tab.register(JOHN);
  await news.load();
  await news.becomes(null);
  await tab.reload();
  await tab.becomes(JOHN);

  await tab.run('keyturn.logout()');
  front.fault = () => ({ strip: 'Partitioned; ' });
  await tab.login(JOHN);
  expect(await tab.ask()).toBe(`200 ${JOHN}`);
  expect(await storedRefreshCookies(context)).toEqual([]);
  await tab.reload();
  await tab.becomes(null);
});

/** All that a script of another origin can try; yields what it could read. */
const attack = (server: string) => `(async () => {
  const read = [];
  const json = { 'content-type': 'application/json' };
  const tries = [['POST', '/auth/refresh'], ['POST', '/auth/refresh', '{}'], ['POST', '/auth/logout'], ['POST', '/auth/logout?scope=all'], ['GET', '/users/me'], ['GET', '/auth/sessions'],
    ['POST', '/auth/login', JSON.stringify({ email: '${JOHN}', password: 'correct horse battery' })], ['DELETE', '/auth/sessions/x'], ['PATCH', '/users/me', '{}'], ['DELETE', '/users/me']];
  for (const [method, path, body] of tries) {
    for (const mode of ['cors', 'no-cors']) {
      for (const headers of [{}, json]) {
        const answer = await fetch('${server}' + path, { method, mode, credentials: 'include', headers, body }).catch(() => null);
        if (answer && (answer.type !== 'opaque' || await answer.text() !== '')) read.push(path);
      }
    }
  }
  navigator.sendBeacon('${server}/auth/logout?scope=all');
  const frame = document.body.appendChild(document.createElement('iframe'));
  frame.name = 'target';
  frame.src = '${server}/users/me';
  const pause = () => new Promise((resolve) => setTimeout(resolve, 200));
  for (let time = 0; frame.contentDocument && time < 50; time += 1) await pause(); // until the server's answer takes the place of the empty page
  try { read.push('frame ' + frame.contentDocument.body.textContent); } catch { /* not ours to read */ }
  for (const [action, enctype] of [['/auth/refresh', 'text/plain'], ['/auth/logout?scope=all', 'application/x-www-form-urlencoded']]) {
    const form = document.body.appendChild(Object.assign(document.createElement('form'), { method: 'post', action: '${server}' + action, enctype, target: 'target' }));
    form.submit();
    await pause();
  }
  return read;
})()`;

for (const [name, foreign] of [['sub-domains of one site', ['evil.example.test', 'www.evil.test']], ['another site', ['www.evil.test', 'evil.shop.test', 'evil.service.test']]] as const) {
  testInChromium(`on ${name}, a page of another origin cannot refresh, sign out or read anything with the cookie`, async () => {
    const { context, origin, server, front, events, logLines } = await deploy(name);
    const tab = await openTab(context, origin, { server });
    await tab.register(JOHN);
    const before = await storedCookies(context);
    for (const host of foreign) {
      const evil = await openTab(context, front.at(host), { server, later: true });
      expect(await evil.run<string[]>(attack(server)), host).toEqual([]);
      await evil.page.evaluate(`document.body.innerHTML = '<form method="post" action="${server}/auth/logout?scope=all"></form>'; document.forms[0].submit()`);
      await evil.page.waitForURL(`${server}/**`);
      expect(await evil.page.locator('body').innerText()).toContain('cross_site');
      await evil.page.close();
    }
    expect(events()).toContain('cross_site_refused');
    expect(logLines.filter((line) => line.includes('"signed_out"'))).toEqual([]);
    expect(await storedCookies(context)).toEqual(before);
    await tab.reload();
    await tab.becomes(JOHN);
  });
}

testInChromium('the client can be imported from any origin, and there its sign-in is refused unless the origin is allowed', async () => {
  const { context, server, front } = await deploy('sub-domains of one site');
  const tab = await openTab(context, front.at('www.stranger.test'), { server });
  expect(await tab.run(`outcome(keyturn.login({ email: '${JOHN}', password: 'correct horse battery' }))`)).toMatchObject({ name: 'KeyturnError', status: 0, code: 'network' });
  expect(await tab.user()).toBeUndefined();
  expect(await storedCookies(context)).toEqual([]);
});
