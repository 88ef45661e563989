import { linkSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, onTestFinished, test } from 'vitest';
import { bearer, PASSWORD, problemOf, startApp, temporaryFolder } from '../support/app.ts';
import { holdLock } from '../support/lock-holder.ts';
import { DatabaseAway, openDb } from '../../src/store/db.ts';
import { throttleStatements } from '../../src/store/throttles.ts';

test.each(['BEGIN IMMEDIATE', 'BEGIN EXCLUSIVE'] as const)('while another process holds %s, reads and liveness go on; a write waits for two seconds, is refused with 503, and works afterwards', async (begin) => {
  const { folder, register, refresh, get, logLines } = await startApp();
  const { accessToken, refreshToken } = await register();
  const letGo = await holdLock(join(folder, 'keyturn.db'), begin);
  const state = { answered: false };
  const write = refresh(refreshToken).finally(() => { state.answered = true; });
  let reads = 0;
  while (!state.answered) {
    expect([(await get('/users/me', accessToken)).statusCode, (await get('/health/live')).statusCode]).toEqual([200, 200]);
    reads += 1;
  }
  expect(reads).toBeGreaterThan(5);
  const answer = await write;
  expect([problemOf(answer), answer.headers['retry-after']]).toEqual(['503 database_away', '2']);
  const logged = logLines.map((line) => JSON.parse(line) as { event?: string });
  expect(logged.find(({ event }) => event === 'database_away')).toMatchObject({ err: { code: 'SQLITE_BUSY' } });
  expect((await get('/health/ready')).statusCode).toBe(200);
  await letGo();
  expect((await refresh(refreshToken)).statusCode).toBe(200);
});

test('writes that wait for another process are done in their order once it lets go, and none is refused', async () => {
  const path = join(temporaryFolder(), 'keyturn.db');
  const db = await openDb({ dialect: 'sqlite', path });
  onTestFinished(() => db.close());
  const throttles = throttleStatements(db);
  const policy = { free: 1, pauseMs: 1, longestPauseMs: 1, limit: 100, forgetMs: 1000 };
  const letGo = await holdLock(path, 'BEGIN IMMEDIATE');
  const done: number[] = [];
  const writes: Promise<unknown>[] = [];
  for (let turn = 0; turn < 10; turn += 1) {
    writes.push(throttles.take('one key', turn, policy).then((row) => done.push(row!.count)));
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
  expect(done).toEqual([]);
  await letGo();
  await Promise.all(writes);
  expect(done).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
});

test('a write that waits when the database is closed is refused', async () => {
  const path = join(temporaryFolder(), 'keyturn.db');
  const db = await openDb({ dialect: 'sqlite', path });
  await holdLock(path, 'BEGIN IMMEDIATE');
  const write = throttleStatements(db).giveBack('key', 0);
  const refused = expect(write).rejects.toBeInstanceOf(DatabaseAway);
  await new Promise((resolve) => { setTimeout(resolve, 30); });
  await db.close();
  await refused;
});

describe('a file that loses its name under the server', () => {
  type Loss = [name: string, lose: (path: string) => void];
  test.each<Loss>([
    ['is deleted', (path) => rmSync(path)],
    ['is moved away', (path) => renameSync(path, `${path}.moved`)],
    ['is replaced', (path) => {
      writeFileSync(`${path}.other`, '');
      renameSync(`${path}.other`, path);
    }],
    ['loses its write-ahead log', (path) => rmSync(`${path}-wal`)],
  ])('when it %s, no write is acknowledged, reads are refused, and readiness is red', async (_name, lose) => {
    const { folder, post, register, refresh, get, logLines } = await startApp();
    const { accessToken, refreshToken } = await register();
    const path = join(folder, 'keyturn.db');
    lose(path);
    logLines.length = 0;
    const answers = [await refresh(refreshToken), await post('/auth/register', { email: 'lost@example.com', password: PASSWORD }), await get('/users/me', accessToken), await get('/health'), await get('/health/ready')];
    for (const answer of answers) expect([problemOf(answer), answer.headers['retry-after']]).toEqual(['503 database_away', '2']);
    expect((await get('/health/live')).statusCode).toBe(200);
    expect(logLines.filter((line) => line.includes('"database_away"')).map((line) => (JSON.parse(line) as { err?: { code?: string } }).err?.code)).toContain('FILE_GONE');
  });

  test('serves again when it has its name back, and the session lives', async () => {
    const { folder, register, refresh, request } = await startApp();
    const { accessToken, refreshToken } = await register();
    const path = join(folder, 'keyturn.db');
    linkSync(path, `${path}.second`);
    rmSync(path);
    expect(problemOf(await refresh(refreshToken))).toBe('503 database_away');
    linkSync(`${path}.second`, path);
    expect((await request({ method: 'GET', url: '/users/me', headers: bearer(accessToken) })).statusCode).toBe(200);
    expect((await refresh(refreshToken)).statusCode).toBe(200);
    const other = new Database(path, { readonly: true });
    expect(other.prepare('SELECT count(*) FROM sessions').pluck().get()).toBe(1);
    other.close();
  });
});
