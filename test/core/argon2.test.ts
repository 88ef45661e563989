import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type Argon2, chooseFaster, loadAccelerator, reference } from '../../src/core/argon2.ts';
import { temporaryFolder } from '../support/app.ts';
import { startServer } from '../support/server.ts';

const COST = { memoryCost: 1024, timeCost: 2, parallelism: 1 };
const PASSWORD = 'correct horse battery – ſtaple';
const none = () => Promise.reject(new Error('Cannot find package'));

describe('the accelerator', async () => {
  const accelerator = await loadAccelerator().catch(() => reference);

  test('reads what the reference writes, and is read by it', async () => {
    for (const [writer, reader] of [[accelerator, reference], [reference, accelerator]] as const) {
      const hash = await writer.hash(PASSWORD, COST);
      expect(hash).toMatch(/^\$argon2id\$v=19\$(?=[^$]*m=1024)(?=[^$]*t=2)(?=[^$]*p=1)[mtp=\d,]+\$[\w+/]{22}\$[\w+/]{43}$/);
      expect([await reader.verify(hash, PASSWORD), await reader.verify(hash, PASSWORD.normalize('NFKC'))]).toEqual([true, false]);
    }
  });

  test('is used only where it is installed, right and faster', async () => {
    const wrong: [string, Argon2][] = [
      ['says yes to all', { ...accelerator, verify: async () => true }],
      ['says no to all', { ...accelerator, verify: async () => false }],
      ['hashes something else', { ...accelerator, hash: (_password, cost) => reference.hash('another', cost) }],
      ['cannot read the known hash', { ...accelerator, verify: () => Promise.reject(new Error('invalid')) }],
      ['is slow', { ...accelerator, hash: async (password, cost) => { await sleep(50); return accelerator.hash(password, cost); } }],
    ];
    for (const [fault, implementation] of wrong) expect(await chooseFaster(async () => implementation), fault).toBe(reference);
    expect(await chooseFaster(none)).toBe(reference);
    const quick: Argon2 = { ...reference, name: 'quick' };
    let first: Promise<string> | undefined;
    quick.hash = (password, cost) => (first ??= reference.hash(password, cost));
    expect((await chooseFaster(async () => quick)).name).toBe('quick');
  });
});

test.runIf(process.platform === 'linux')('threads that hash give way to all others', async () => {
  const { child, post } = await startServer({ DATA_DIR: temporaryFolder() });
  expect((await post('/auth/register', { username: 'john', password: PASSWORD })).status).toBe(201);
  const threads = readdirSync(`/proc/${child.pid}/task`).map((id) => {
    const [, name, fields] = /\((.*)\) (.*)/.exec(readFileSync(`/proc/${child.pid}/task/${id}/stat`, 'utf8')) ?? [];
    return { hashes: name === 'libuv-worker', niceness: Number(fields?.split(' ')[16]) };
  });
  const niceness = (hashes: boolean) => new Set(threads.filter((each) => each.hashes === hashes).map((each) => each.niceness));
  expect(niceness(true)).toEqual(new Set([10]));
  expect(Math.max(...niceness(false))).toBeLessThan(10);
});
