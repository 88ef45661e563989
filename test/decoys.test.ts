import { createSecretKey, randomBytes } from 'node:crypto';
import argon2 from 'argon2';
import bcrypt from 'bcrypt';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { App } from '../src/app.ts';
import { chooseArgon2 } from '../src/core/argon2.ts';
import { chooseDecoy, countHashKinds, type HashKinds } from '../src/core/decoys.ts';
import { decoyLike, fitsStoredHash, wrapHash } from '../src/core/stored-hashes.ts';
import { PASSWORD, startApp, type TestApp } from './support/app.ts';
import { VECTORS } from './support/vectors.ts';

const CHEAP = { memoryCost: 8, timeCost: 1, parallelism: 1 };
const BCRYPT = bcrypt.hashSync(PASSWORD, 4);

/** Gives the account the hash in the place of its own. */
async function replaceHash(app: App, email: string, newHash: string) {
  const [user] = await app.store.users.findByIdentifier(email, null);
  await app.store.transact([app.store.users.replacePasswordHash({ id: user!.id, oldHash: user!.passwordHash, newHash, changedAt: 0 })]);
}

/** An app that has restarted on a table of ten accounts, which hold these hashes; null is what Keyturn made itself. */
async function startOn(hashes: (string | null)[], env: Record<string, string> = {}) {
  const first = await startApp();
  for (const [index, hash] of hashes.entries()) {
    await first.register(`user${index}@example.com`);
    if (hash !== null) await replaceHash(first.app, `user${index}@example.com`, hash);
  }
  return startApp({ DATA_DIR: first.folder, ...env });
}

/** Which hashes a wrong guess at the name computes, in order: the work that its time shows. */
async function workOf({ post }: TestApp, email: string, password = 'wrong'): Promise<string> {
  const verify = vi.spyOn(await chooseArgon2(), 'verify');
  const hash = vi.spyOn(bcrypt, 'hash');
  expect((await post('/auth/login', { email, password })).statusCode).toBe(401);
  const work = [
    ...verify.mock.calls.map(([stored], call) => ({ at: verify.mock.invocationCallOrder[call]!, name: `argon2 ${/m=\d+/.exec(stored)![0]}` })),
    ...hash.mock.calls.map(([, salt], call) => ({ at: hash.mock.invocationCallOrder[call]!, name: `bcrypt ${String(salt).slice(4, 6)}` })),
  ];
  for (const spy of [verify, hash]) spy.mockRestore();
  return work.sort((one, other) => one.at - other.at).map(({ name }) => name).join(', ');
}

describe('a name that nobody has', () => {
  test('costs what one of the accounts costs, in the same proportions, and always the same', async () => {
    const wrapped = await wrapHash(BCRYPT, CHEAP);
    const other = await argon2.hash(PASSWORD, { memoryCost: 16, timeCost: 2, parallelism: 1 });
    const app = await startOn([BCRYPT, BCRYPT, wrapped, wrapped, wrapped, other, null, null, null, null]);
    const works: string[] = [];
    for (let index = 0; index < 10; index += 1) works.push(await workOf(app, `user${index}@example.com`));
    expect(works).toEqual([...Array<string>(2).fill('bcrypt 04'), ...Array<string>(3).fill('bcrypt 04, argon2 m=8'), 'argon2 m=16', ...Array<string>(4).fill('argon2 m=8')]);

    const unknown: string[] = [];
    for (let index = 0; index < 500; index += 1) unknown.push(await workOf(app, `nobody${index}@example.com`));
    const share = (work: string, list: string[]) => list.filter((each) => each === work).length / list.length;
    for (const work of new Set([...works, ...unknown])) {
      expect(Math.abs(share(work, unknown) - share(work, works)), work).toBeLessThan(0.1); // four deviations and more
    }
    for (let index = 0; index < 20; index += 1) expect(await workOf(app, `NOBODY${index}@Example.com`)).toBe(unknown[index]);
  });

  test('costs the same after a change of the argon2 cost, until accounts have the new one', async () => {
    const hashes = [null, null, null];
    const app = await startOn(hashes, { ARGON2_MEMORY_KIB: '32' });
    for (const name of ['user0', 'nobody0', 'nobody1', 'nobody2', 'nobody3']) expect([name, await workOf(app, `${name}@example.com`)]).toEqual([name, 'argon2 m=8']);
    for (const [index] of hashes.entries()) await app.login(`user${index}@example.com`);
    const restarted = await startApp({ DATA_DIR: app.folder, ARGON2_MEMORY_KIB: '32' });
    for (const name of ['user0', 'nobody0', 'nobody1', 'nobody2', 'nobody3']) expect([name, await workOf(restarted, `${name}@example.com`)]).toEqual([name, 'argon2 m=32']);
  });

  test('costs a hash of the configured cost while there are no accounts, or none whose hash can be read', async () => {
    expect(await workOf(await startApp(), 'nobody@example.com')).toBe('argon2 m=8');
    const app = await startOn(['!', 'no hash at all', '$2b$31$FWjhUS0qhc4n0O8z4nVLS.fEPfWWQDdmJ5KpUILMhfkk/O9SsFMFq']);
    for (const name of ['user0', 'user1', 'user2', 'nobody']) expect([name, await workOf(app, `${name}@example.com`)]).toEqual([name, 'argon2 m=8']);
  });

  test('is tried as often as an account: twice with a password that another keyboard composes otherwise', async () => {
    const app = await startOn([BCRYPT]);
    for (const name of ['user0', 'nobody']) expect([name, await workOf(app, `${name}@example.com`, 'zo\u0065\u0308')]).toEqual([name, 'bcrypt 04, bcrypt 04']);
  });

  test('learns what an import has added within the hour', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onTestFinished(() => { vi.useRealTimers(); });
    const app = await startApp();
    await app.register('user0@example.com');
    await replaceHash(app.app, 'user0@example.com', BCRYPT);
    expect(await workOf(app, 'nobody@example.com')).toBe('argon2 m=8');
    vi.advanceTimersByTime(60 * 60_000);
    await expect.poll(() => workOf(app, 'nobody@example.com')).toBe('bcrypt 04');
  });

  test('costs what it did while the kinds cannot be counted, which the log tells', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onTestFinished(() => { vi.useRealTimers(); });
    const app = await startOn([BCRYPT]);
    vi.spyOn(app.app.store.users, 'listHashes').mockRejectedValueOnce(new Error('away'));
    vi.advanceTimersByTime(60 * 60_000);
    await expect.poll(() => app.events()).toContain('hash_count_failed');
    expect(await workOf(app, 'nobody@example.com')).toBe('bcrypt 04');
  });
});

describe('the choice', () => {
  const key = createSecretKey(randomBytes(32));
  const names = Array.from({ length: 20_000 }, (_, index) => `nobody${index}`);
  const choices = (kinds: Record<string, number>) => names.map((name) => chooseDecoy(new Map(Object.entries(kinds)), key, name));

  test('keeps to the numbers of each kind, also where one is rare, in whatever order they come', () => {
    const chosen = choices({ a: 700, b: 299, c: 1 });
    const count = (kind: string) => chosen.filter((each) => each === kind).length;
    for (const [kind, share] of [['a', 0.7], ['b', 0.299], ['c', 0.001]] as const) {
      const deviation = Math.sqrt(names.length * share * (1 - share));
      expect(Math.abs(count(kind) - names.length * share), kind).toBeLessThan(5 * deviation);
    }
    expect(choices({ c: 1, b: 299, a: 700 })).toEqual(chosen);
  });

  test('moves no more names than accounts, and never from the new kind to an old one', () => {
    const before = choices({ old: 500, own: 500 });
    const after = choices({ old: 490, own: 510 });
    const moves = names.map((_name, index) => `${before[index]} to ${after[index]}`);
    expect(moves).not.toContain('own to old');
    expect(moves.filter((move) => move === 'old to own').length / names.length).toBeLessThan(0.015);
  });

  test('is another one under another key', () => {
    const other = createSecretKey(randomBytes(32));
    const kinds: HashKinds = new Map([['a', 1], ['b', 1]]);
    const same = names.filter((name) => chooseDecoy(kinds, key, name) === chooseDecoy(kinds, other, name));
    expect(same.length / names.length).toBeCloseTo(0.5, 1);
  });
});

describe('the count', () => {
  test('is of all accounts, page by page, after that of a fair sample; and it ends when the server does', async () => {
    const pages: string[] = [];
    const accounts = Array.from({ length: 10_600 }, (_, index) => ({ id: String(index).padStart(5, '0'), passwordHash: index % 2 ? BCRYPT : 'unreadable' }));
    const store = { users: { listHashes: async (after: string, limit: number) => {
      pages.push(after);
      return accounts.filter(({ id }) => id > after).slice(0, limit);
    } } } as unknown as App['store'];
    const counts = [];
    for await (const kinds of countHashKinds({ store }, new AbortController().signal)) counts.push([pages.length, ...kinds]);
    const decoy = decoyLike(BCRYPT);
    expect(counts).toEqual([[20, [decoy, 5000]], [22, [decoy, 5300]]]);
    const closing = new AbortController();
    const interrupted = countHashKinds({ store }, closing.signal);
    await interrupted.next();
    const rest = interrupted.next();
    closing.abort();
    await expect(rest).rejects.toThrow('abort');
  });
});

test('a decoy of each format is of that format and cost, repeats neither salt nor digest, and no password fits it', async () => {
  const cheap = VECTORS.filter(({ hash }) => /\$05\$|r=5|:1000\$|\$1000\$|m=(1024|4096)|ln=10|:1024:|fbscrypt/.test(hash));
  for (const { hash, password } of cheap) {
    const decoy = decoyLike(hash)!;
    expect([hash, decoy.length, decoyLike(decoy)]).toEqual([hash, hash.length, decoy]);
    const secret = /[^$]+\$?[^$]{8,}$/.exec(hash)![0];
    expect(decoy).not.toContain(secret.slice(-12, -2));
    expect([hash, await fitsStoredHash(password, decoy)]).toEqual([hash, false]);
  }
});
