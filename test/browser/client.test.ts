import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { expect } from 'vitest';
import { startApp } from '../support/app.ts';
import { launchChromium, testInChromium } from '../support/browser.ts';
import { listen } from '../support/http.ts';
import { type Fault, startProxy } from '../support/proxy.ts';
import { openTab, type Tab, without, withoutAll } from '../support/tabs.ts';

const JOHN = 'john@example.com';
const JANE = 'jane@example.com';
const QUARTER_MS = 16 * 60_000;

/** Chromium, and an app beside Keyturn on one origin, behind a proxy that the test commands. */
async function start(env: Record<string, string> = {}) {
  const server = await startApp(env);
  const upstream = `http://127.0.0.1:${await listen(server.app)}`;
  const proxy = await startProxy(() => upstream);
  const chromium = await launchChromium();
  const origin = proxy.at('localhost');
  const open = (options: Parameters<typeof openTab>[2] = {}) => openTab(chromium.context, origin, options);
  return {
    ...server, ...chromium, proxy, origin, open,
    /** Does to the next requests of a path what is listed. */
    meet: (path: string, ...faults: (Fault | undefined)[]) => {
      proxy.fault = ({ url }) => (url.startsWith(path) ? faults.shift() : undefined);
    },
    count: (path: string) => proxy.seen.filter(({ url }) => url.startsWith(path)).length,
    sessionRows: () => {
      const db = new Database(`${server.folder}/keyturn.db`, { readonly: true });
      const { rows } = db.prepare('SELECT count(*) AS rows FROM sessions').get() as { rows: number };
      db.close();
      return rows;
    },
  };
}

const all = <T>(tabs: Tab[], work: (tab: Tab) => Promise<T>) => Promise.all(tabs.map(work));

testInChromium('one signs up, reloads, and is still signed in; a page’s script finds the refresh token nowhere', async () => {
  const { open, context, origin } = await start();
  const tab = await open();
  await tab.becomes(null);
  await tab.register(JOHN);
  await tab.reload();
  await tab.becomes(JOHN);
  expect(await tab.seen()).toEqual([JOHN]);

  const stored = await tab.run<string>('(async () => JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }, await indexedDB.databases(), await caches.keys()]))()');
  expect(stored).toMatch(/^\["",\{"keyturn 1 http:\/\/localhost:\d+":"[\w-]{22}"\},\{\},\[\],\[\]\]$/);
  const found = await tab.run<string>(`(async () => {
    const texts = [];
    const routes = [['POST', '/auth/refresh'], ['POST', '/auth/login', { email: '${JOHN}', password: 'correct horse battery' }], ['GET', '/users/me'],
      ['GET', '/auth/sessions'], ['POST', '/auth/register', { username: 'john', password: 'correct horse battery' }], ['POST', '/auth/logout?scope=others'],
      ['POST', '/auth/refresh', { refresh_token: 'x' }], ['GET', '/health'], ['POST', '/auth/refresh', {}]];
    for (const [method, path, body] of routes) {
      const token = await keyturn.accessToken();
      const answer = await fetch(path, { method, headers: { authorization: 'Bearer ' + token, ...(body && { 'content-type': 'application/json' }) }, body: body && JSON.stringify(body) });
      texts.push(path, await answer.text(), JSON.stringify([...answer.headers]));
    }
    return texts.join('\\n');
  })()`);
  expect(found).toContain('access_token');
  const { value } = (await context.cookies(origin)).find(({ name }) => name.endsWith('refresh_token'))!;
  expect(value).toMatch(/^rt1\./);
  for (const part of ['rt1.', value, value.split('.')[3]!, 'refresh_token=']) expect(found).not.toContain(part);
});

testInChromium('five tabs at once with an expired access token, 50 rounds: nobody is signed out, and there is one session row', async () => {
  const { open, clock, post, sessionRows, events } = await start();
  const first = await open();
  await first.register(JOHN);
  for (const before of ['', withoutAll]) {
    const tabs = await Promise.all(Array.from({ length: 5 }, () => open({ before })));
    await all(tabs, (tab) => tab.becomes(JOHN));
    for (let round = 0; round < 25; round += 1) {
      clock.now += QUARTER_MS;
      if (round % 5 === 4) {
        await all(tabs, (tab) => tab.load());
        await all(tabs, (tab) => tab.becomes(JOHN));
      }
      expect(await all(tabs, (tab) => tab.ask())).toEqual(Array.from({ length: 5 }, () => `200 ${JOHN}`));
    }
    expect(new Set((await all(tabs, (tab) => tab.seen())).flat())).toEqual(new Set([JOHN]));
    await all(tabs, (tab) => tab.page.close());
  }
  expect(await first.ask()).toBe(`200 ${JOHN}`);
  expect(sessionRows()).toBe(1);
  expect(events()).not.toContain('refresh_token_reused');
  expect((await post('/auth/login', { email: JOHN, password: 'correct horse battery' })).statusCode).toBe(200);
  expect(sessionRows()).toBe(2);
});

testInChromium('tabs that need a refresh at once share it, where the browser has locks and channels', async () => {
  const { open, clock, proxy, count, meet } = await start();
  const tabs = await Promise.all(Array.from({ length: 5 }, () => open()));
  await all(tabs, (tab) => tab.becomes(null));
  await tabs[0]!.register(JOHN);
  await all(tabs, (tab) => tab.becomes(JOHN));
  expect(await all(tabs, (tab) => tab.ask())).toEqual(Array.from({ length: 5 }, () => `200 ${JOHN}`));
  clock.now += QUARTER_MS;
  proxy.seen.length = 0;
  meet('/auth/refresh', ...Array.from({ length: 5 }, () => ({ hold: sleep(300) })));
  expect(await all(tabs, (tab) => tab.ask())).toEqual(Array.from({ length: 5 }, () => `200 ${JOHN}`));
  expect(count('/auth/refresh')).toBeLessThan(5);
});

testInChromium('a refresh whose answer is lost is repeated, and one is still signed in', async () => {
  const { open, clock, meet, count, events, sessionRows } = await start();
  const tab = await open();
  await tab.register(JOHN);
  clock.now += QUARTER_MS;
  meet('/auth/refresh', 'lose', 'lose', 'lose');
  expect(await tab.ask()).toMatch(/^[24]0[01] /);
  await expect.poll(() => tab.ask()).toBe(`200 ${JOHN}`);
  expect(events()).toContain('refresh_token_repeated');

  clock.now += QUARTER_MS;
  meet('/auth/refresh', 'lose', 'lose', 'lose');
  const before = count('/auth/refresh');
  await tab.load();
  await tab.becomes(JOHN);
  expect(count('/auth/refresh') - before).toBeGreaterThan(3);
  expect(await tab.seen()).toEqual([JOHN]);
  expect(sessionRows()).toBe(1);
});

testInChromium('a page that is left in the middle of a refresh does not lose the session', async () => {
  const { open, clock, meet, count } = await start();
  const tab = await open();
  await tab.register(JOHN);
  meet('/auth/refresh', { hold: sleep(300) });
  const before = count('/auth/refresh');
  await tab.run('void keyturn.refresh(); 0');
  await expect.poll(() => count('/auth/refresh')).toBe(before + 1);
  await tab.page.goto('about:blank');
  await sleep(500);
  clock.now += QUARTER_MS;
  await tab.load();
  await tab.becomes(JOHN);
});

for (const [name, before] of [['by channel', ''], ['by storage where there is no channel', without.channel]] as const) {
  testInChromium(`signing out and in, in one tab, is seen in all within a second: ${name}`, async () => {
    const { open } = await start();
    const tabs = await Promise.all(Array.from({ length: 4 }, () => open({ before })));
    const [first, second, ...others] = tabs as [Tab, Tab, ...Tab[]];
    await first.register(JOHN);
    await all(tabs, (tab) => tab.becomes(JOHN));
    await second.run('keyturn.logout()');
    await all(tabs, (tab) => tab.becomes(null));
    expect(await first.run('keyturn.accessToken()')).toBe(null);
    await first.register(JANE);
    await all(tabs, (tab) => tab.becomes(JANE));
    await others[0]!.login(JOHN);
    await all(tabs, (tab) => tab.becomes(JOHN));
    await second.run("keyturn.logout({ scope: 'all' })");
    await all(tabs, (tab) => tab.becomes(null));
    expect(await others[1]!.seen()).toEqual([null, JOHN, null, JANE, JOHN, null]);
  });
}

testInChromium('without storage, channels and locks it works: sign-out is seen on the next request', async () => {
  const { open } = await start();
  const [first, second] = [await open({ before: withoutAll }), await open({ before: withoutAll })];
  await first.register(JOHN);
  await second.load();
  await second.becomes(JOHN);
  expect(await second.ask()).toBe(`200 ${JOHN}`);
  await first.run('keyturn.logout()');
  expect(await second.ask()).toBe('401 undefined');
  expect(await second.user()).toBe(null);
});

testInChromium('a page that comes back from the browser’s cache after a sign-out notices; a lock that nobody lets go of is not waited for', async () => {
  const { open, origin } = await start();
  const [first, second] = [await open({ before: without.storage }), await open({ before: without.channel })];
  await first.register(JOHN);
  await second.load();
  await second.becomes(JOHN);
  await first.run('keyturn.logout()');
  await second.run("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })); 0");
  await second.becomes(null);

  await first.run(`void navigator.locks.request('keyturn 1 ${origin}', () => new Promise(() => {})); 0`);
  expect(await second.login(JOHN)).toBe(JOHN);
});

testInChromium('no network, nonsense, 429, 5xx, 403 and a 401 of somebody else do not sign out; Retry-After is kept', async () => {
  const { open, meet, clock, count, proxy } = await start();
  const tab = await open();
  await tab.register(JOHN);
  const html = { 'content-type': 'text/html' };
  const problem = { 'content-type': 'application/problem+json' };
  for (const fault of ['refuse', { status: 500 }, { status: 502, headers: html, body: '<h1>Bad Gateway</h1>' }, { status: 200, headers: html, body: '<h1>Log in to this wireless network</h1>' },
    { status: 200, headers: { 'content-type': 'application/json' }, body: '{}' }, { status: 401, headers: html, body: 'proxy login' }, { status: 401 }, { status: 404 },
    { status: 403, headers: problem, body: '{"code":"cross_site","detail":"no"}' }, { status: 503, headers: problem, body: '{"code":"draining"}' }] satisfies Fault[]) {
    clock.now += QUARTER_MS;
    meet('/auth/refresh', fault, fault, fault, fault);
    expect(await tab.ask()).toBe('401 undefined');
    expect(await tab.user()).toBe(JOHN);
    proxy.fault = () => undefined;
    await expect.poll(() => tab.ask()).toBe(`200 ${JOHN}`);
  }
  clock.now += QUARTER_MS;
  meet('/auth/refresh', { status: 429, headers: { ...problem, 'retry-after': '6' }, body: '{"code":"rate_limited","detail":"wait"}' });
  expect(await tab.ask()).toBe('401 undefined');
  const asked = count('/auth/refresh');
  expect(await tab.run('outcome(keyturn.refresh())')).toMatchObject({ name: 'KeyturnError', status: 429, code: 'rate_limited', detail: 'wait', retryAfter: expect.any(Number) });
  await tab.run("dispatchEvent(new Event('online'))");
  await sleep(1200);
  expect(count('/auth/refresh')).toBe(asked);
  await expect.poll(() => count('/auth/refresh')).toBe(asked + 1);
  expect(await tab.ask()).toBe(`200 ${JOHN}`);
  expect(await tab.seen()).toEqual([null, JOHN]);
});

testInChromium('a page that starts while the server is away waits, and then finds its session', async () => {
  const { open, proxy } = await start();
  const tab = await open();
  await tab.register(JOHN);
  proxy.fault = ({ url }) => (url.startsWith('/client.js') ? undefined : 'refuse');
  await tab.load();
  expect(await tab.run('outcome(keyturn.accessToken())')).toMatchObject({ name: 'KeyturnError', status: 0, code: 'network' });
  expect(await tab.user()).toBeUndefined();
  expect(await tab.seen()).toEqual([]);
  proxy.fault = () => undefined;
  await tab.becomes(JOHN);
  expect(await tab.seen()).toEqual([JOHN]);
});

testInChromium('a refresh that is answered after the sign-out, and late news of the session, bring nothing back', async () => {
  const { open, meet, origin } = await start();
  const [first, second] = [await open({ before: without.locks }), await open({ before: without.locks })];
  await second.run(`globalThis.news = []; globalThis.channel = new BroadcastChannel('keyturn 1 ${origin}'); channel.onmessage = ({ data }) => news.push(data); 0`);
  await first.register(JOHN);
  await second.becomes(JOHN);
  const late = Promise.withResolvers<unknown>();
  meet('/auth/refresh', { hold: late.promise });
  const refreshed = second.run('outcome(keyturn.refresh())');
  await sleep(100);
  await first.run('keyturn.logout()');
  await second.becomes(null);
  late.resolve(null);
  expect(await refreshed).toBe('done');
  await second.run('channel.postMessage(news.find(({ token }) => token))');
  await sleep(100);
  for (const tab of [first, second]) expect([await tab.user(), await tab.run('keyturn.accessToken()')]).toEqual([null, null]);
});

testInChromium('what was begun as one user is never sent as another', async () => {
  const { open, clock, meet, count } = await start();
  const [first, second] = [await open(), await open({ before: without.channel + without.storage })];
  await first.register(JANE);
  const changed = { name: 'KeyturnError', status: 0, code: 'user_changed' };
  const post = "outcome(keyturn.fetch('/mine', { method: 'POST', body: 'a draft' }))";
  await first.register(JOHN);
  await second.load();
  await second.becomes(JOHN);

  await first.login(JANE);
  clock.now += QUARTER_MS; // the server refuses the token, and the cookie is another’s by now
  meet('/mine', { status: 401 });
  expect(await second.run(post)).toMatchObject(changed);
  expect(await second.user()).toBe(JANE);
  expect(await second.ask()).toBe(`200 ${JANE}`);

  await first.login(JOHN); // the token is known to have expired, and the cookie is another’s by now
  await second.run('const { now } = performance; performance.now = () => now.call(performance) + 1e6; 0');
  expect(await second.run(post)).toMatchObject(changed);
  expect(await second.seen()).toEqual([JOHN, JANE, JOHN]);
  expect(count('/mine')).toBe(1);
});

testInChromium('the access token goes to the server, to the page’s origin and to tokenOrigins, and not on to where they redirect', async () => {
  const { open, proxy, origin, meet } = await start();
  const other = await startProxy(() => origin);
  const third = await startProxy(() => origin);
  const open3 = { status: 200, headers: { 'access-control-allow-origin': '*', 'access-control-allow-headers': 'authorization' }, body: 'here' };
  other.fault = third.fault = () => open3;
  const [a, b] = [other.at('localhost'), third.at('localhost')];
  const tab = await open({ tokenOrigins: [a] });
  await tab.register(JOHN);
  await tab.run(`keyturn.fetch('${a}/api')`);
  expect(other.seen.at(-1)?.authorization).toMatch(/^Bearer ey/);
  expect(await tab.run(`outcome(keyturn.fetch('${b}/api'))`)).toBe(`TypeError: Keyturn: ${b} is not one of tokenOrigins`);
  expect(await tab.run(`outcome(keyturn.fetch(new Request('//localhost:${third.port}/api')))`)).toMatch(/^TypeError/);
  expect(third.seen).toEqual([]);

  meet('/away', { status: 307, headers: { location: `${b}/api` } });
  await tab.run("keyturn.fetch('/away')");
  expect(proxy.seen.at(-1)?.authorization).toMatch(/^Bearer ey/);
  expect(third.seen.map(({ authorization }) => authorization)).toEqual([undefined]);
});

testInChromium('after a 401 a request is repeated once, with its body; a wrong password is not repeated', async () => {
  const { open, clock, meet, count, proxy } = await start();
  const tab = await open();
  await tab.register(JOHN);
  expect(await tab.run("outcome(keyturn.changePassword({ old_password: 'wrong', new_password: 'another horse battery' }))")).toMatchObject({ status: 401, code: 'invalid_credentials' });
  expect(count('/auth/change-password')).toBe(1);
  clock.now += QUARTER_MS;
  expect(await tab.run("keyturn.fetch(new Request('/auth/change-password', { method: 'POST', headers: { 'content-type': 'application/json' }, "
    + "body: JSON.stringify({ old_password: 'correct horse battery', new_password: 'another horse battery' }) })).then(({ status }) => status)")).toBe(200);
  expect(count('/auth/change-password')).toBe(3);
  expect(await tab.ask()).toBe(`200 ${JOHN}`); // by the cookie of the new session
  proxy.seen.length = 0;
  meet('/mine', { status: 401 }, { status: 401 }, { status: 401 });
  expect(await tab.run("keyturn.fetch('/mine').then(({ status }) => status)")).toBe(401);
  expect([count('/mine'), count('/auth/refresh')]).toEqual([2, 1]);
  proxy.seen.length = 0;
  proxy.fault = ({ url, authorization }) => (url === '/mine' && authorization === proxy.seen[0]?.authorization ? { status: 401 } : undefined);
  await tab.run("Promise.all(Array.from({ length: 8 }, () => keyturn.fetch('/mine')))");
  expect([count('/mine'), count('/auth/refresh')]).toEqual([16, 1]);
});

testInChromium('a changed password: the tab that changed it and the others go on in a new session; a copied old token is dead', async () => {
  for (const before of ['', without.channel, withoutAll]) {
    const { open, context, origin, clock, refresh, get, events } = await start();
    const tabs = [await open({ before }), await open({ before })] as [Tab, Tab];
    const [first, second] = tabs;
    await first.register(JOHN);
    await second.load();
    await all(tabs, (tab) => tab.becomes(JOHN));
    const stolen = {
      refreshToken: (await context.cookies(origin)).find(({ name }) => name.endsWith('refresh_token'))!.value,
      accessToken: await first.run<string>('keyturn.accessToken()'),
    };
    clock.now += QUARTER_MS; // the change finds its own access token expired
    const change = "keyturn.changePassword({ old_password: 'correct horse battery', new_password: 'another horse battery' })";
    expect(await first.run(change)).toEqual({ msg: 'Password changed successfully' });
    await all(tabs, async (tab) => expect(await tab.ask()).toBe(`200 ${JOHN}`));
    expect((await get('/users/me', stolen.accessToken)).statusCode).toBe(401);
    expect((await refresh(stolen.refreshToken)).statusCode).toBe(401);
    clock.now += QUARTER_MS;
    await all(tabs, (tab) => tab.load());
    await all(tabs, (tab) => tab.becomes(JOHN));
    const [current] = await first.run<{ current: boolean }[]>('keyturn.sessions()');
    expect(current).toMatchObject({ current: true });
    expect(events()).not.toContain('refresh_token_refused');
  }
});

testInChromium('errors are typed: status, code, detail, fields, and the server’s request id', async () => {
  const { open } = await start();
  const tab = await open();
  expect(await tab.run("outcome(keyturn.register({ email: 'x', password: 'short' }))")).toMatchObject({ name: 'KeyturnError', status: 422, code: 'invalid_input', errors: [{ pointer: '/email' }], known: true });
  expect(await tab.run("outcome(keyturn.login({ username: 'nobody', password: 'wrong' }))")).toMatchObject({ status: 401, code: 'invalid_credentials', detail: 'Invalid credentials', errors: [], known: true });
  expect(await tab.run('outcome(keyturn.me())')).toMatchObject({ status: 401, code: 'access_token_missing' });
  expect(await tab.run('keyturn.logout().then(() => keyturn.user)')).toBe(null);
});

testInChromium('two clients of one page, as React’s StrictMode makes them, agree; a closed one is silent', async () => {
  const { open, meet, count } = await start();
  const tab = await open();
  await tab.register(JOHN);
  const strict = await open({ later: true });
  meet('/auth/refresh', { hold: sleep(300) });
  const before = count('/auth/refresh');
  await strict.run('begin(); 0');
  await expect.poll(() => count('/auth/refresh')).toBe(before + 1);
  await strict.run('keyturn.close()');
  await sleep(400);
  expect(await strict.seen()).toEqual([]);
  await strict.run('begin().close(); globalThis.other = begin(); begin(); 0');
  await strict.becomes(JOHN);
  await expect.poll(() => strict.run('other.user?.email')).toBe(JOHN);
  expect(await strict.seen()).toEqual([JOHN, JOHN]);
  await strict.run('other.close(); keyturn.logout()');
  expect(await strict.seen()).toEqual([JOHN, JOHN, null]);
});

testInChromium('resume: marked asks nothing of a first visit, and resumes where there was a session, or no storage to tell', async () => {
  const { open, count, complaints } = await start();
  const tab = await open({ resume: 'marked' });
  expect([await tab.user(), count('/auth/refresh')]).toEqual([null, 0]);
  await tab.register(JOHN);
  await tab.reload();
  await tab.becomes(JOHN);
  expect(count('/auth/refresh')).toBe(1);
  const blind = await open({ resume: 'marked', before: without.storage });
  await blind.becomes(JOHN);
  await tab.run('keyturn.logout()');
  await tab.reload();
  expect([await tab.user(), count('/auth/refresh')]).toEqual([null, 2]);
  expect(complaints).toEqual([]);
});

testInChromium('a change of the user is told to all tabs; a deleted account, an ended session and a reset password sign them out', async () => {
  const { open, proxy } = await start();
  const tabs = [await open(), await open()];
  const [first, second] = tabs as [Tab, Tab];
  const answerWith = (status: number, path: string, body = '') => {
    proxy.fault = ({ method, url }) => (method !== 'GET' && url === path ? { status, headers: { 'content-type': 'application/json' }, body } : undefined);
  };
  const endings = {
    'deleted@example.com': async () => {
      const user = { ...(await first.run<object>('keyturn.user')), username: 'changed' };
      answerWith(200, '/users/me', JSON.stringify(user));
      expect(await first.run('keyturn.updateMe({ username: "changed" })')).toEqual(user);
      await expect.poll(() => second.run('keyturn.user.username')).toBe('changed');
      answerWith(204, '/users/me');
      await first.run("keyturn.deleteMe({ password: 'x' })");
    },
    'ended@example.com': () => first.run('keyturn.sessions().then((list) => keyturn.endSession(list.find(({ current }) => current).id))'),
    'reset@example.com': async () => {
      answerWith(200, '/auth/change-password', '{"msg":"changed"}');
      await first.run("fetch('/auth/logout', { method: 'POST' }).then(() => 0)"); // as the reset does on the server
      expect(await first.run("keyturn.changePassword({ token: 'x', new_password: 'y' })")).toEqual({ msg: 'changed' });
    },
  };
  for (const [email, end] of Object.entries(endings)) {
    await first.register(email);
    await all(tabs, (tab) => tab.becomes(email));
    await end();
    await all(tabs, (tab) => tab.becomes(null));
  }
});

testInChromium('signing up where the address must be verified first signs nobody in', async () => {
  const { open, meet } = await start();
  const tab = await open();
  meet('/auth/register', { status: 202, headers: { 'content-type': 'application/json' }, body: '{"msg":"look into your mail"}' });
  expect(await tab.run("keyturn.register({ email: 'x@example.com', password: 'correct horse battery' })")).toBe(null);
  expect(await tab.user()).toBe(null);
});
