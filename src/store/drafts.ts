import {
  closeSync, constants, fchmodSync, fchownSync, fstatSync, fsyncSync, lstatSync, openSync, readdirSync, readlinkSync, realpathSync, rmSync, statSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';

const DAY_MS = 86_400_000;
/** What SQLite puts beside a database. */
export const SQLITE_SUFFIXES = ['-wal', '-shm', '-journal'];

export type Draft = {
  path: string;
  /** Makes the draft ready for its name: mode 0600, owned by the owner of its folder, on disk. @throws Error when the name leads elsewhere by now */
  settle(): void;
  /** Closes the draft and removes it, unless it was renamed. No connection may be open on it: closing drops SQLite's locks. */
  discard(): void;
};

/**
 * A new, empty file beside the path, which only this process's user can read. It is gone when the process ends, unless
 * it was renamed. The drafts that killed processes left beside the path are removed.
 *
 * Another user may own the folder and change names in it while root works there. So the file must be new, and its mode
 * and owner are changed through its descriptor, never by name.
 * @throws Error when no file can be made in the folder
 */
export function draftBeside(path: string): Draft {
  removeAbandoned(path);
  const draft = `${path}.${hostname()}-${process.pid}-${process.hrtime.bigint().toString(36)}.part`;
  const descriptor = openNew(draft);
  const remove = () => ['', ...SQLITE_SUFFIXES].forEach((suffix) => rmSync(draft + suffix, { force: true }));
  process.once('exit', remove);
  return {
    path: draft,
    settle() {
      fchmodSync(descriptor, 0o600);
      const { uid, gid } = statSync(dirname(draft));
      if (process.getuid?.() === 0) fchownSync(descriptor, uid, gid);
      fsyncSync(descriptor);
      const [own, named] = [fstatSync(descriptor), lstatSync(draft)];
      if (own.dev !== named.dev || own.ino !== named.ino) throw new Error(`${draft} was replaced by another process`);
    },
    discard() {
      closeSync(descriptor);
      remove();
      process.off('exit', remove);
    },
  };
}

function openNew(draft: string): number {
  try {
    return openSync(draft, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    throw new Error(`${dirname(draft)} cannot be written (${(error as NodeJS.ErrnoException).code})`, { cause: error });
  }
}

/**
 * Removes drafts whose process is gone. The name of a draft tells its machine (in a container: the container) and its process.
 * A draft of another machine goes when nobody has written to it for a day.
 */
function removeAbandoned(path: string) {
  const folder = dirname(path);
  for (const name of namesIn(folder)) {
    if (!name.startsWith(`${basename(path)}.`)) continue;
    const [, host = '', pid = ''] = /^\.(.+)-(\d+)-[\da-z]+\.part(-wal|-shm|-journal)?$/.exec(name.slice(basename(path).length)) ?? [];
    if (host === '') continue;
    const abandoned = host === hostname() ? !isAlive(Number(pid)) : isOld(join(folder, name));
    if (abandoned) rmSync(join(folder, name), { force: true });
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // the attempt to make the draft tells why
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // it lives, and is another user's
  }
}

function isOld(path: string): boolean {
  const changedAt = lstatSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Number.POSITIVE_INFINITY;
  return Date.now() - changedAt > DAY_MS;
}

/** The file that the path leads to, through every symbolic link; the file need not exist yet. */
export function followLinks(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const isLink = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink();
  return isLink ? followLinks(resolve(dirname(path), readlinkSync(path))) : resolve(path);
}

/** The file, or the names in the folder, are on disk when it returns. */
export function flush(path: string) {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
