import type { Page } from 'playwright-core';
import { expect } from 'vitest';
import { startApp } from '../support/app.ts';
import { launchChromium, testInChromium } from '../support/browser.ts';

const JOHN = 'john@example.com';
const NEW = 'another long passphrase';

/** A browser without scripts, and the links that John was mailed. */
async function openMailbox() {
  const testApp = await startApp();
  const origin = await testApp.app.listen({ host: 'localhost', port: 0 });
  await testApp.register();
  await testApp.post('/auth/forgot-password', { email: JOHN });
  const [verification, forgotten] = await testApp.mails();
  const chromium = await launchChromium();
  const context = await chromium.browser.newContext({ javaScriptEnabled: false, viewport: { width: 360, height: 640 } });
  const complaints: string[] = [];
  context.on('console', (message) => {
    if (!message.text().includes('status of 422')) complaints.push(message.text());
  });
  const page = await context.newPage();
  return { ...testApp, origin, page, complaints, verification: verification!.link!, forgotten: forgotten!.link! };
}

async function fitsTheScreen(page: Page): Promise<boolean> {
  const box = await page.locator('main').boundingBox();
  const button = await page.locator('button').boundingBox();
  return box !== null && box.x >= 0 && box.x + box.width <= 360 && button !== null && button.height >= 44;
}

testInChromium('without a script, on a phone: the link of a mail, a password that is too common, another one, and done', async () => {
  const { page, forgotten, post, complaints } = await openMailbox();
  await page.goto(forgotten);
  expect(await page.title()).toBe('Choose a new password');
  expect(await fitsTheScreen(page)).toBe(true);
  expect(await page.getByLabel('Account').inputValue()).toBe(JOHN);
  await page.getByLabel('New password').fill('password1');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').waitFor();
  expect(await page.title()).toBe('Error: Choose a new password');
  expect(new URL(page.url()).search).toBe('');
  expect(await page.locator(':focus').getAttribute('aria-describedby')).toBe('fault rule');
  await page.getByLabel('New password').fill(NEW);
  await page.getByRole('button', { name: 'Change password' }).click();
  expect(await page.getByRole('heading').innerText()).toBe('Your password is changed');
  expect((await post('/auth/login', { email: JOHN, password: NEW })).statusCode).toBe(200);
  expect(complaints).toEqual([]);
});

testInChromium('one press of the button verifies the address, in dark colours where they are wanted', async () => {
  const { page, verification, complaints, events } = await openMailbox();
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.goto(verification);
  expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(18, 21, 25)');
  expect(events()).not.toContain('email_verified');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Your e-mail address is verified' }).waitFor();
  expect(events()).toContain('email_verified');
  expect(complaints).toEqual([]);
});
