import { readdirSync, readFileSync } from 'node:fs';
import { setPriority } from 'node:os';

const THREADS = '/proc/self/task';
/** of 19, the lowest */
const NICENESS = 10;

/**
 * From now on the threads that hash give way to the event loop, so that sign-ins keep no other request waiting. They are
 * Node's thread pool, and there once it was used. Does nothing but on Linux, where threads have priorities of their own.
 */
export function lowerHashThreads(): void {
  try {
    for (const id of readdirSync(THREADS)) {
      if (readFileSync(`${THREADS}/${id}/comm`, 'utf8') === 'libuv-worker\n') setPriority(Number(id), NICENESS);
    }
  } catch {
    // another system, or one that forbids it
  }
}
