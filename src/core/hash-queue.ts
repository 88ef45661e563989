import { availableParallelism } from 'node:os';
import pLimit from 'p-limit';

/** Thrown when too many hashes wait; nothing was done, and trying again later will do (ASVS 15.2.2). */
export class PasswordQueueFull extends Error {}

/**
 * Thrown when a hash could not be computed, as when there is no memory for it. It says nothing about the password: the
 * attempt must not count as a wrong one. The next hash may succeed.
 */
export class HashNotComputed extends Error {}

export type HashQueue = ReturnType<typeof createHashQueue>;

const limit = pLimit(availableParallelism());
const LARGEST_GROUP = 8;
let finished: (() => void)[] = [];

/**
 * Resolves for several that finish one after another together, as many as still wait in the queue: so nobody is held
 * longer than by the queue, and at once when it is empty. A hash leaves the processor's caches cold for the rest of the
 * request, which then costs a fifth of a hash; shared by a group, a twentieth.
 */
function inGroup(): Promise<void> {
  return new Promise((resolve) => {
    finished.push(resolve);
    if (finished.length < Math.min(LARGEST_GROUP, limit.pendingCount)) return;
    const group = finished;
    finished = [];
    for (const goOn of group) goOn();
  });
}

/** At most one hash per core at a time in this process, and `queueLimit` more that wait. */
export function createHashQueue(queueLimit: number) {
  const hasRoom = () => limit.activeCount + limit.pendingCount < limit.concurrency + queueLimit;
  const notComputed = (cause: unknown) => {
    throw new HashNotComputed('a password hash could not be computed', { cause });
  };
  return {
    /** Whether a hash would not be refused now. */
    hasRoom,
    /** @throws PasswordQueueFull at once, or HashNotComputed for whatever the work rejects with */
    run: async <Result>(work: () => Promise<Result>): Promise<Result> => {
      if (!hasRoom()) throw new PasswordQueueFull();
      return limit(work).catch(notComputed).finally(inGroup);
    },
  };
}
