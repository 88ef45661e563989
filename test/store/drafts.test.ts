import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, onTestFinished, test } from 'vitest';
import { draftBeside } from '../../src/store/drafts.ts';
import { startApp, temporaryFolder } from '../support/app.ts';
import { cliHere, spawnCli } from '../support/cli.ts';

const SECRET_KEY = 'YW5vdGhlciBrZXkgZm9yIHRoZSBjb21tYW5kIG9ubHkhIQ';
const asRoot = process.getuid?.() === 0;

/** A closed database with one user, and a backup of it. */
async function databaseOfJohn() {
  const folder = temporaryFolder();
  const { app, register } = await startApp({ DATA_DIR: folder, SECRET_KEY });
  await register();
  await app.close();
  const [env, path, file] = [{ DATA_DIR: folder, SECRET_KEY }, join(folder, 'keyturn.db'), join(folder, 'backup.db')];
  expect(await cliHere(['backup', file], env)).toMatchObject({ code: 0 });
  return { folder, env, path, file };
}

function emailsIn(path: string): unknown[] {
  const connection = new Database(path, { readonly: true });
  try {
    return connection.prepare('SELECT email FROM users').pluck().all();
  } finally {
    connection.close();
  }
}

const draftsIn = (folder: string) => readdirSync(folder).filter((name) => /\.part(-|$)/.test(name));

describe('restore, where the database is a symbolic link', () => {
  test('replaces the file that the link names, keeps the old file beside it, and leaves the link as it is', async () => {
    const { env, file } = await databaseOfJohn();
    const folder = temporaryFolder();
    const volume = join(folder, 'volume');
    mkdirSync(volume);
    symlinkSync('volume/real.db', join(folder, 'first.db'));
    symlinkSync('first.db', join(folder, 'keyturn.db'));
    const { app, register } = await startApp({ DATA_DIR: folder, SECRET_KEY });
    await register('jane@example.com');
    await app.close();

    const done = await cliHere(['restore', file, '--force', '--json'], { ...env, DATA_DIR: folder });
    expect(done).toMatchObject({ code: 0 });
    const { kept } = JSON.parse(done.stdout) as { kept: string };
    expect(lstatSync(join(folder, 'keyturn.db')).isSymbolicLink()).toBe(true);
    expect(lstatSync(join(volume, 'real.db')).isFile()).toBe(true);
    expect(emailsIn(join(volume, 'real.db'))).toEqual(['john@example.com']);
    expect([kept.startsWith(join(volume, 'real.db.before-restore-')), lstatSync(kept).isFile()]).toEqual([true, true]);
    expect(emailsIn(kept)).toEqual(['jane@example.com']);
    expect(readdirSync(folder).sort()).toEqual(['first.db', 'keyturn.db', 'volume']);
    expect(readdirSync(volume)).toHaveLength(2);
  });

  test('makes the file that a dangling link names', async () => {
    const { env, file } = await databaseOfJohn();
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'volume'));
    symlinkSync('volume/real.db', join(folder, 'keyturn.db'));
    expect(await cliHere(['restore', file], { ...env, DATA_DIR: folder })).toMatchObject({ code: 0 });
    expect(lstatSync(join(folder, 'keyturn.db')).isSymbolicLink()).toBe(true);
    expect(emailsIn(join(folder, 'volume/real.db'))).toEqual(['john@example.com']);
  });
});

describe('a draft', () => {
  test('that another process swapped for a link is given up: what the link names keeps its mode, owner and content', () => {
    const folder = temporaryFolder();
    const victim = join(folder, 'victim');
    writeFileSync(victim, 'precious', { mode: 0o644 });
    const owner = asRoot ? 1234 : statSync(victim).uid;
    if (asRoot) chownSync(victim, owner, owner);
    const draft = draftBeside(join(folder, 'backup.db'));
    rmSync(draft.path);
    symlinkSync(victim, draft.path);
    expect(() => { draft.settle(); }).toThrow('was replaced by another process');
    draft.discard();
    const { uid, mode } = statSync(victim);
    expect([uid, mode & 0o777, readFileSync(victim, 'utf8')]).toEqual([owner, 0o644, 'precious']);
    expect(draftsIn(folder)).toEqual([]);
  });

  test('belongs to the folder’s owner, who alone may read it, from its first byte', () => {
    const folder = temporaryFolder();
    const umask = process.umask(0);
    onTestFinished(() => void process.umask(umask));
    if (asRoot) chownSync(folder, 1234, 1235);
    const draft = draftBeside(join(folder, 'backup.db'));
    expect(statSync(draft.path).mode & 0o777).toBe(0o600);
    draft.settle();
    const { uid, gid, mode } = statSync(draft.path);
    expect([uid, gid, mode & 0o777]).toEqual([statSync(folder).uid, statSync(folder).gid, 0o600]);
    draft.discard();
    expect(readdirSync(folder)).toEqual([]);
  });

  test('names the folder where it cannot be made', () => {
    const folder = join(temporaryFolder(), 'none');
    expect(() => draftBeside(join(folder, 'backup.db'))).toThrow(`${folder} cannot be written (ENOENT)`);
  });

  test.each(['backup', 'restore'])('of a killed %s is removed by the next run', async (command) => {
    const { folder, env, path, file } = await databaseOfJohn();
    const connection = new Database(path);
    connection.exec(`CREATE TABLE ballast AS WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 8000) SELECT randomblob(4000) FROM n`);
    connection.close();
    expect(await cliHere(['backup', file, '--force'], env)).toMatchObject({ code: 0 });
    const { child, ended } = spawnCli([command, file, '--force'], env);
    while (draftsIn(folder).length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    child.kill('SIGKILL');
    await ended;
    expect(draftsIn(folder)).not.toEqual([]);
    expect(await cliHere([command, file, '--force'], env)).toMatchObject({ code: 0 });
    expect(draftsIn(folder)).toEqual([]);
    expect(emailsIn(path)).toEqual(['john@example.com']);
  });

  test('of a process that lives, of another machine of today, and a file of another name stay', async () => {
    const { folder, env, file } = await databaseOfJohn();
    const alive = spawn('sleep', ['600']);
    onTestFinished(() => void alive.kill('SIGKILL'));
    const dead = spawn('true');
    await once(dead, 'exit');
    const name = (host: string, pid: number | undefined) => `${file}.${host}-${pid}-abc.part`;
    const stay = [name(hostname(), alive.pid), name('elsewhere.example', dead.pid), `${file}.part`, `${file}.${hostname()}-x-abc.part`, join(folder, 'other.db.host-1-a.part')];
    const go = [name(hostname(), dead.pid), `${name(hostname(), dead.pid)}-journal`];
    for (const path of [...stay, ...go]) writeFileSync(path, '');
    expect(await cliHere(['backup', file, '--force'], env)).toMatchObject({ code: 0 });
    expect([stay.filter((path) => !existsSync(path)), go.filter((path) => existsSync(path))]).toEqual([[], []]);
  });

  test('of another machine is removed when nobody has written to it for a day', async () => {
    const { env, file } = await databaseOfJohn();
    const old = `${file}.elsewhere.example-1-abc.part`;
    writeFileSync(old, '');
    utimesSync(old, new Date(), new Date(Date.now() - 25 * 3_600_000));
    expect(await cliHere(['backup', file, '--force'], env)).toMatchObject({ code: 0 });
    expect(existsSync(old)).toBe(false);
  });
});

test('a kept database loses the modes that let others read it', async () => {
  const { env, path, file } = await databaseOfJohn();
  chmodSync(path, 0o644);
  const { kept } = JSON.parse((await cliHere(['restore', file, '--force', '--json'], env)).stdout) as { kept: string };
  expect([path, kept].map((name) => statSync(name).mode & 0o777)).toEqual([0o600, 0o600]);
});
