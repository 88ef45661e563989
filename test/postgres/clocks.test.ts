import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { expect, onTestFinished, test, vi } from 'vitest';
import { buildApp } from '../../src/app.ts';
import { loadConfig } from '../../src/config.ts';
import { databaseFor, PASSWORD, temporaryFolder, TEST_ENVIRONMENT } from '../support/app.ts';
import { type Server, startServer, tokensIn } from '../support/server.ts';

const ROUNDS = 30;
const iatOf = (token: string) => (JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as { iat: number }).iat;

/** Three copies on one database, whose machines' clocks are set apart. */
async function startSkewed(shiftsMs: [number, number, number], env: Record<string, string> = {}) {
  const DATA_DIR = temporaryFolder();
  const shim = join(DATA_DIR, 'shim.mjs');
  writeFileSync(shim, 'const real = Date.now; Date.now = () => real() + Number(process.env.SHIFT_MS);');
  const database = await databaseFor(DATA_DIR);
  const start = (shift: number) => startServer({ DATA_DIR, ...database, ...env, NODE_OPTIONS: `--import=${shim}`, SHIFT_MS: `${shift}` });
  return Promise.all(shiftsMs.map(start)) as Promise<[Server, Server, Server]>;
}

test('copies whose clocks are a minute apart agree by the database: of two tabs that race on them none is signed out', async () => {
  const copies = await startSkewed([-30_000, 0, 30_000]);
  let { refresh_token, access_token } = await tokensIn(await copies[1].post('/auth/register', { username: 'john', password: PASSWORD }));
  for (let round = 0; round < ROUNDS; round += 1) {
    const pair = [copies[round % 3]!, copies[(round + 1 + (round % 2)) % 3]!];
    const answers = await Promise.all(pair.map(async (copy) => tokensIn(await copy.post('/auth/refresh', { refresh_token }))));
    expect(answers[0]!.refresh_token).toBe(answers[1]!.refresh_token);
    expect(Math.abs(iatOf(answers[0]!.access_token) - iatOf(answers[1]!.access_token))).toBeLessThan(15);
    ({ refresh_token, access_token } = answers[0]!);
    for (const copy of copies) expect((await copy.get('/users/me', access_token)).status).toBe(200);
  }
  expect(copies.map(({ output }) => output().includes('"clock_corrected"'))).toEqual([true, false, true]);
  for (const { output } of copies) expect(output()).not.toContain('refresh_token_reused');
});

test('a copy that starts with a clock days ahead begins sessions by the right time', async () => {
  const [ahead, right] = await startSkewed([8 * 86_400_000, 0, 0]);
  const { access_token } = await tokensIn(await ahead.post('/auth/register', { username: 'john', password: PASSWORD }));
  expect(Math.abs(iatOf(access_token) * 1000 - Date.now())).toBeLessThan(60_000);
  expect((await right.get('/users/me', access_token)).status).toBe(200);
});

test('a clock that is set while the server runs is corrected again within seconds, and while the database is away the last correction holds', async () => {
  const folder = temporaryFolder();
  const { DATABASE_URL, ...database } = await databaseFor(folder);
  const real = Date.now;
  onTestFinished(() => void vi.restoreAllMocks());
  const shift = { ms: 8 * 86_400_000 };
  vi.spyOn(Date, 'now').mockImplementation(() => real() + shift.ms);
  const app = await buildApp(loadConfig({ ...TEST_ENVIRONMENT, ...database, DATABASE_URL, DATA_DIR: folder }), { logTo: { write: () => undefined } });
  onTestFinished(() => app.close());
  const offBy = () => Math.abs(app.now() - real());
  expect(offBy()).toBeLessThan(5000);
  shift.ms = -3_600_000;
  await expect.poll(offBy, { timeout: 30_000 }).toBeLessThan(5000);
  const ask = vi.spyOn(pg.Pool.prototype, 'query').mockRejectedValue(new Error('away'));
  shift.ms += 1000;
  await expect.poll(() => ask.mock.calls.length, { timeout: 30_000 }).toBeGreaterThan(0);
  expect(offBy()).toBeLessThan(6000);
});
