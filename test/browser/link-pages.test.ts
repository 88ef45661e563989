import type { BrowserContext, Page } from 'playwright-core';
import { expect } from 'vitest';
import { PASSWORD, startApp } from '../support/app.ts';
import { launchChromium, testInChromium } from '../support/browser.ts';
import { startProxy } from '../support/proxy.ts';

const JOHN = 'john@example.com';
const NEW = 'another long passphrase';
const PHONE = { viewport: { width: 360, height: 640 } };

/** The links that John was mailed, and a proxy before the server that notes every request. */
async function openMailbox({ env = {}, host = 'localhost', fetchMetadata = true, javaScriptEnabled = true } = {}) {
  const testApp = await startApp(env);
  const server = await testApp.app.listen({ host: 'localhost', port: 0 });
  const proxy = await startProxy(() => server, { fetchMetadata });
  const origin = proxy.at(host);
  await testApp.post('/auth/register', { email: JOHN, password: PASSWORD });
  await testApp.post('/auth/forgot-password', { email: JOHN });
  const links = (await testApp.mails()).map(({ link }) => link!.replace(/^http:\/\/localhost:\d+/, origin));
  const { browser } = await launchChromium('--host-resolver-rules=MAP keys.test 127.0.0.1, MAP localhost 127.0.0.1');
  const context = await browser.newContext({ ...PHONE, javaScriptEnabled });
  const complaints = listenTo(context);
  const page = await context.newPage();
  const linkTo = (path: string) => links.find((link) => link.includes(path))!;
  return { ...testApp, origin, proxy, context, page, complaints, verification: linkTo('verify-email'), forgotten: linkTo('reset-password') };
}

/** What the pages complain of, but for the answers 4xx that the tests provoke. */
function listenTo(context: BrowserContext): string[] {
  const complaints: string[] = [];
  context.on('console', (message) => {
    if (!/status of 4\d\d/.test(message.text())) complaints.push(message.text());
  });
  context.on('weberror', (error) => void complaints.push(error.error().message));
  return complaints;
}

const tokenIn = (link: string) => new URLSearchParams(new URL(link).hash.slice(1)).get('token')!;
const heading = (page: Page, name: string) => page.getByRole('heading', { name, exact: true }).waitFor();

async function fitsTheScreen(page: Page): Promise<boolean> {
  const box = await page.locator('main').boundingBox();
  const button = await page.locator('button').first().boundingBox();
  return box !== null && box.x >= 0 && box.x + box.width <= 360 && button !== null && button.height >= 44;
}

/** Follows both links to the end. */
async function useBoth({ page, forgotten, verification, post, events }: Awaited<ReturnType<typeof openMailbox>>) {
  await page.goto(verification);
  await page.getByRole('button', { name: 'Yes, verify it' }).click();
  await heading(page, 'Your e-mail address is verified');
  expect(events()).toContain('email_verified');
  await page.goto(forgotten);
  await page.getByLabel('New password').fill(NEW);
  await page.getByRole('button', { name: 'Change password' }).click();
  await heading(page, 'Your password is changed');
  expect((await post('/auth/login', { email: JOHN, password: NEW })).statusCode).toBe(200);
}

testInChromium('on a phone: the link of a mail, a password that is too common, another one, and done; no address on the way has the token', async () => {
  const { page, forgotten, post, complaints, proxy } = await openMailbox();
  await page.goto(forgotten);
  await page.getByLabel('Account').waitFor();
  expect(await page.title()).toBe('Choose a new password');
  expect(await fitsTheScreen(page)).toBe(true);
  expect(await page.getByLabel('Account').inputValue()).toBe(JOHN);
  await page.getByLabel('New password').fill('password1');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').waitFor();
  expect(await page.title()).toBe('Error: Choose a new password');
  expect(await page.locator(':focus').getAttribute('aria-describedby')).toBe('fault rule');
  await page.getByLabel('New password').fill(NEW);
  await page.getByRole('button', { name: 'Change password' }).click();
  await heading(page, 'Your password is changed');
  expect((await post('/auth/login', { email: JOHN, password: NEW })).statusCode).toBe(200);
  expect(complaints).toEqual([]);
  expect(proxy.seen.map(({ method, url }) => `${method} ${url}`).filter((line) => line.includes('reset-password')))
    .toEqual(['GET /reset-password', 'POST /reset-password?', 'POST /reset-password?', 'POST /reset-password?']);
  expect(JSON.stringify(proxy.seen)).not.toContain(tokenIn(forgotten));
});

testInChromium('the token stays in no history: going back leads past it, or to a page without it', async () => {
  const { page, forgotten, complaints, origin } = await openMailbox();
  await page.goto(forgotten);
  await page.getByLabel('Account').waitFor();
  expect(page.url()).not.toContain(tokenIn(forgotten));
  await page.goBack();
  expect(page.url()).toBe('about:blank');
  await page.goto(`${origin}/reset-password`);
  await page.goto(forgotten); // another fragment of the page that is open
  await page.getByLabel('Account').waitFor();
  await page.goBack();
  await page.getByLabel('Link from the mail').waitFor();
  expect(page.url()).toMatch(/\/reset-password$/);
  expect(await page.getByLabel('Link from the mail').inputValue()).toBe('');
  await page.goto(forgotten);
  await page.getByLabel('Account').waitFor();
  expect(complaints).toEqual([]);
});

testInChromium('one press of the button verifies the address, in dark colours where they are wanted; reading the page does not', async () => {
  const { page, verification, complaints, events } = await openMailbox();
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.goto(verification);
  await page.getByRole('button', { name: 'Yes, verify it' }).waitFor();
  expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(18, 21, 25)');
  expect(events()).not.toContain('email_verified');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await heading(page, 'Your e-mail address is verified');
  expect(events()).toContain('email_verified');
  expect(complaints).toEqual([]);
});

testInChromium('both pages work where a middlebox takes Fetch Metadata away: the browser names its origin', async () => {
  const mailbox = await openMailbox({ fetchMetadata: false });
  await useBoth(mailbox);
  const posts = mailbox.proxy.seen.filter(({ method }) => method === 'POST');
  expect(posts.map(({ origin, site }) => [origin, site])).toEqual(posts.map(() => [mailbox.origin, undefined]));
  expect(posts).toHaveLength(4);
  expect(mailbox.complaints).toEqual([]);
});

testInChromium('both pages work on an http host name that is not trustworthy, to which Chromium sends no Fetch Metadata', async () => {
  const mailbox = await openMailbox({ host: 'keys.test' });
  await useBoth(mailbox);
  const posts = mailbox.proxy.seen.filter(({ method }) => method === 'POST');
  expect(posts.map(({ origin, site }) => [origin, site])).toEqual(posts.map(() => [mailbox.origin, undefined]));
  expect(mailbox.origin).toContain('http://keys.test:');
  expect(mailbox.complaints.filter((text) => !/Cross-Origin-Opener-Policy|Origin-Agent-Cluster/.test(text))).toEqual([]);
});

testInChromium('without JavaScript the page says what to do, and the link that is pasted works', async () => {
  const { page, verification, forgotten, complaints, post, events } = await openMailbox({ javaScriptEnabled: false });
  await page.goto(verification);
  expect(await page.locator('main').innerText()).toMatch(/your browser runs none[\s\S]*Copy the whole link from the mail, and paste it here/);
  expect(await fitsTheScreen(page)).toBe(true);
  await page.getByLabel('Link from the mail').fill(verification);
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('button', { name: 'Yes, verify it' }).click();
  await heading(page, 'Your e-mail address is verified');
  expect(events()).toContain('email_verified');
  await page.goto(forgotten);
  await page.getByLabel('Link from the mail').fill(forgotten);
  await page.keyboard.press('Enter');
  await page.getByLabel('New password').fill(NEW);
  await page.keyboard.press('Enter');
  await heading(page, 'Your password is changed');
  expect((await post('/auth/login', { email: JOHN, password: NEW })).statusCode).toBe(200);
  expect(complaints).toEqual([]);
});

testInChromium('a link that has expired has another one sent', async () => {
  const { page, forgotten, clock, mails, origin, complaints } = await openMailbox();
  clock.now += 2 * 3_600_000;
  await page.goto(forgotten);
  await page.getByRole('button', { name: 'Send a new link' }).click();
  await heading(page, 'A new link is on its way');
  const [mail] = await mails();
  await page.goto(mail!.link!.replace(/^http:\/\/localhost:\d+/, origin));
  await page.getByLabel('New password').fill(NEW);
  await page.keyboard.press('Enter');
  await heading(page, 'Your password is changed');
  expect(complaints).toEqual([]);
});

testInChromium('the browser that registered verifies by one press, coming from a mail on another site; another one is asked for the password', async () => {
  const { page, context, origin, verification, complaints, app, mails } = await openMailbox({ env: { REQUIRE_EMAIL_VERIFICATION: 'true' } });
  await page.goto(verification);
  await page.getByLabel('The password that you chose').fill('a wrong guess');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').waitFor();
  expect(await page.getByRole('alert').innerText()).toBe('This is not the password that was chosen.');

  const own = await context.newPage();
  await context.request.post(`${origin}/auth/register`, { data: { email: 'jane@example.com', password: PASSWORD } });
  const link = (await mails())[0]!.link!.replace(/^http:\/\/localhost:\d+/, origin);
  await context.route('http://mail.test/', (route) => route.fulfill({ contentType: 'text/html', body: `<a href="${link}">Confirm</a>` }));
  await own.goto('http://mail.test/');
  await own.getByRole('link').click();
  await own.getByRole('button', { name: 'Yes, verify it' }).waitFor();
  expect(await own.locator('input[type=password]').count()).toBe(0);
  await own.getByRole('button', { name: 'Yes, verify it' }).click();
  await heading(own, 'Your e-mail address is verified');

  await page.getByRole('button', { name: 'This was not me' }).click();
  await heading(page, 'The account is deleted');
  expect((await app.store.users.findByIdentifier(JOHN, null))[0]).toBeUndefined();
  expect(complaints).toEqual([]);
});
