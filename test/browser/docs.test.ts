import type { Locator, Page } from 'playwright-core';
import { expect } from 'vitest';
import { launchChromium, testInChromium } from '../support/browser.ts';
import { readDocument } from '../support/openapi.ts';

async function openPage(path: string) {
  const { app, operations } = await readDocument();
  const origin = await app.listen({ host: '127.0.0.1', port: 0 });
  const chromium = await launchChromium();
  const page = await chromium.context.newPage();
  await page.goto(origin + path);
  return { page, operations, host: new URL(origin).host, ...chromium };
}

/** Presses Execute on an operation of Swagger UI, and reads what it shows of the answer. */
async function execute(page: Page, id: string): Promise<{ status: string; body: Record<string, unknown> }> {
  const operation = page.locator(`[id$="-${id}"].opblock`);
  await operation.locator('.opblock-summary-control').click();
  await operation.getByRole('button', { name: 'Execute' }).click();
  const answer = operation.locator('.live-responses-table .response');
  const status = await textOf(answer.locator('.response-col_status'));
  const body = await textOf(answer.locator('.highlight-code code').first());
  await operation.locator('.opblock-summary-control').click();
  return { status, body: JSON.parse(body) as Record<string, unknown> };
}

async function textOf(locator: Locator): Promise<string> {
  return (await locator.innerText()).trim();
}

testInChromium('Swagger UI shows every operation, from this host alone, within its policy', async () => {
  const { page, operations, complaints, hosts, host } = await openPage('/docs');
  await page.locator('.opblock').first().waitFor();
  const titles = await page.locator('.opblock-summary-path-description-wrapper').allInnerTexts();
  expect(titles.map((title) => title.split(/\s+/).join(' ')).sort()).toEqual(operations.map(({ path, summary }) => `${path} ${summary}`).sort());
  for (const id of ['changePassword', 'endSession']) {
    await page.locator(`[id$="-${id}"] .opblock-summary-control`).click();
    await page.locator(`[id$="-${id}"] .responses-table`).waitFor();
  }
  expect(complaints).toEqual([]);
  expect([...hosts]).toEqual([host]);
});

testInChromium('in Swagger UI one signs up, presses Authorize, and is let in; the refresh token stays out of the page', async () => {
  const { page, complaints, context } = await openPage('/docs');
  const registered = await execute(page, 'register');
  expect(registered).toEqual({ status: '201', body: expect.objectContaining({ msg: 'user created', access_token: expect.any(String) }) });
  expect(registered.body).not.toHaveProperty('refresh_token');
  expect(await context.cookies()).toEqual(['refresh_token', 'device'].map((name): unknown => expect.objectContaining({ name, httpOnly: true })));

  await page.getByRole('button', { name: 'Authorize' }).first().click();
  const dialog = page.locator('.dialog-ux');
  expect(await dialog.locator('input').count()).toBe(1);
  await dialog.locator('input').fill(registered.body.access_token as string);
  await dialog.getByRole('button', { name: 'Apply credentials' }).click();
  await dialog.getByRole('button', { name: 'Close' }).last().click();

  expect(await execute(page, 'getMe')).toEqual({ status: '200', body: expect.objectContaining({ email: 'john@example.com' }) });
  expect(await execute(page, 'refresh')).toEqual({ status: '200', body: expect.objectContaining({ msg: 'Token refreshed' }) });
  expect(await execute(page, 'logout')).toEqual({ status: '200', body: { msg: 'logged out' } });
  expect((await context.cookies()).map(({ name }) => name)).toEqual(['device']);
  expect(complaints).toEqual([]);
});

testInChromium('ReDoc shows every operation, from this host alone, within its policy', async () => {
  for (const path of ['/redoc', '/redoc/']) {
    const { page, operations, complaints, hosts, host } = await openPage(path);
    await page.locator('[data-section-id^="tag/server"]').last().waitFor();
    const headings = await page.locator('h2').allInnerTexts();
    expect(headings.map((text) => text.trim())).toEqual(expect.arrayContaining(operations.map(({ summary }) => summary)));
    expect(await page.evaluate('getComputedStyle(document.body).margin')).toBe('0px');
    expect(complaints).toEqual([]);
    expect([...hosts]).toEqual([host]);
  }
});
