import type { Page } from 'playwright-core';
import { expect } from 'vitest';
import { startApp } from '../support/app.ts';
import { launchChromium, testInChromium } from '../support/browser.ts';
import { listen } from '../support/http.ts';

/** Every page of the server's own. */
const PAGES = ['/docs', '/redoc', '/demo'];
const PASSWORD = 'correct horse battery';

async function start() {
  const server = await startApp();
  const origin = `http://localhost:${await listen(server.app)}`;
  const chromium = await launchChromium();
  return { ...server, ...chromium, origin, page: await chromium.context.newPage() };
}

const statusOf = (page: Page) => page.getByRole('status');
const headingOf = (page: Page) => page.getByRole('heading', { level: 1 });
const fieldOf = (page: Page, name: string) => page.getByRole('textbox', { name, exact: true });
const cardOf = (page: Page, name: string) => page.getByRole('region', { name });

async function signUp(page: Page, email = 'john@example.com') {
  await page.getByRole('button', { name: 'Create an account' }).click();
  await fieldOf(page, 'E-mail address').fill(email);
  await fieldOf(page, 'Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign up' }).click();
  await expect.poll(() => headingOf(page).innerText()).toBe(`Hello, ${email}`);
}

testInChromium('no page of the server complains in the console, violates its policy, or asks another host', async () => {
  const { page, origin, complaints, hosts } = await start();
  for (const path of PAGES) {
    await page.goto(origin + path, { waitUntil: 'networkidle' });
    expect(complaints, path).toEqual([]);
  }
  expect([...hosts]).toEqual([new URL(origin).host]);
});

testInChromium('the demonstration: sign up, reload, use and renew the token, end a session, change the password, sign out in all tabs', async () => {
  const { page, context, origin, post, complaints } = await start();
  await page.goto(origin);
  expect(page.url()).toBe(`${origin}/demo`);
  await signUp(page);
  await page.reload();
  await expect.poll(() => headingOf(page).innerText()).toBe('Hello, john@example.com');

  const token = cardOf(page, 'Access token');
  await expect.poll(() => token.getByRole('timer').innerText()).toMatch(/^1[45]:\d\d$/);
  await token.getByRole('button', { name: 'Renew now' }).click();
  await token.getByRole('button', { name: 'Use it' }).click();
  await expect.poll(() => token.getByLabel('Answer').innerText()).toContain('"email": "john@example.com"');

  const sessions = cardOf(page, 'Where you are signed in');
  await post('/auth/login', { email: 'john@example.com', password: PASSWORD }, { 'user-agent': 'curl/8.14' });
  await sessions.getByRole('button', { name: 'Look again' }).click();
  await sessions.getByRole('button', { name: 'End the session: curl' }).click();
  await expect.poll(() => statusOf(page).innerText()).toBe('The session has ended.');
  expect(await sessions.getByRole('listitem').allInnerTexts()).toEqual([expect.stringMatching(/^Chrome on Linux, this browser/)]);

  const change = cardOf(page, 'Change the password');
  await change.getByLabel('Old password').fill(PASSWORD);
  await change.getByLabel('New password').fill('another horse battery');
  await change.getByRole('button').click();
  await expect.poll(() => statusOf(page).innerText()).toBe('The password is changed, and all other sessions have ended.');

  const second = await context.newPage();
  await second.goto(`${origin}/demo`);
  await expect.poll(() => headingOf(second).innerText()).toBe('Hello, john@example.com');
  await cardOf(page, 'Sign out').getByRole('button', { name: 'In this browser' }).click();
  for (const each of [page, second]) {
    await expect.poll(() => headingOf(each).innerText()).toBe('Sign in');
    expect(await statusOf(each).innerText()).toBe('You are signed out.');
    expect(await each.content()).not.toContain('john@example.com');
  }
  await fieldOf(page, 'E-mail address or username').fill('john@example.com');
  await fieldOf(page, 'Password').fill('another horse battery');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect.poll(() => headingOf(second).innerText()).toBe('Hello, john@example.com');
  expect(complaints).toEqual([]);
});

testInChromium('the demonstration asks for the mail of a forgotten password, and says nothing of whether there is an account', async () => {
  const { page, origin, complaints } = await start();
  const asked: unknown[] = [];
  await page.route('**/auth/forgot-password', (route) => {
    asked.push(route.request().postDataJSON());
    return route.fulfill({ json: { msg: 'sent' } });
  });
  await page.goto(`${origin}/demo`);
  await page.getByRole('button', { name: 'Forgot your password?' }).click();
  await fieldOf(page, 'E-mail address').fill('john@example.com');
  await page.getByRole('button', { name: 'Send the mail' }).click();
  await expect.poll(() => statusOf(page).innerText()).toBe('If there is an account of this address, a mail is on its way.');
  expect(asked).toEqual([{ email: 'john@example.com' }]);
  expect(complaints).toEqual([]);
});

testInChromium('the demonstration works by keyboard alone, says what is wrong beside the field, and moves the focus to it', async () => {
  const { page, origin } = await start();
  await page.goto(`${origin}/demo`);
  const press = async (...keys: string[]) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  const focused = () => page.evaluate<string>("document.activeElement.id || document.activeElement.textContent.trim()");
  await page.getByRole('button', { name: 'Create an account' }).focus();
  await press('Enter');
  expect(await focused()).toBe('Create an account');
  await press('Tab');
  await page.keyboard.type('john@example.com');
  await press('Tab', 'Tab');
  await page.keyboard.type('short');
  await press('Enter');
  await expect.poll(() => page.getByRole('alert').filter({ hasText: /./ }).innerText()).toBe('password must have at least 8 characters');
  await expect.poll(focused).toBe('sign-up-password');
  expect(await fieldOf(page, 'Password').getAttribute('aria-invalid')).toBe('true');
  await page.keyboard.type(' but longer');
  await press('Enter');
  await expect.poll(focused).toBe('Hello, john@example.com');
});

for (const [width, scheme] of [[1280, 'light'], [390, 'dark']] as const) {
  testInChromium(`the demonstration fits a screen of ${width} pixels, every control has a name, and text stands out (${scheme})`, async () => {
    const { page, origin } = await start();
    await page.setViewportSize({ width, height: 800 });
    await page.emulateMedia({ colorScheme: scheme });
    await page.goto(`${origin}/demo`);
    const check = async () => {
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width);
      for (const control of await page.locator('button, input:not(.unseen), progress, a').filter({ visible: true }).all()) {
        expect(await control.ariaSnapshot()).toMatch(/^- '?\w+ "/);
      }
      expect(await page.evaluate(FAINTEST)).toBeGreaterThan(4.5);
    };
    await check();
    await signUp(page, 'somebody.with.a.rather.long.address@a-rather-long-name.example.com');
    await page.getByRole('button', { name: 'Use it' }).click();
    await page.getByLabel('Answer').waitFor();
    await check();
  });
}

/** The least contrast (WCAG 2.2) of a visible element's own text and what is behind it. */
const FAINTEST = `(() => {
  const light = ([r, g, b]) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const part = [r, g, b][i] / 255;
    return sum + weight * (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  }, 0);
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    const color = numbers(getComputedStyle(element).backgroundColor);
    return color[3] === 0 ? behind(element.parentElement) : color;
  };
  const texts = [...document.querySelectorAll('body *')].filter((element) => element.checkVisibility() && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return Math.min(...texts.map((element) => {
    const [a, b] = [light(numbers(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  }));
})()`;
