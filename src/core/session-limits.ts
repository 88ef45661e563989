import type { Step } from '../store/db.ts';
import { SESSIONS_AT_ONCE } from '../store/sessions.ts';
import type { Core } from './core.ts';

/**
 * Ends the user's sessions past SESSIONS_PER_USER, the least recently used first, but not the one that is to be kept; returns
 * how many. There are only any if the limit was higher before, or if an older version knew none. It ends them in batches,
 * each a transaction of its own, so that one user's many sessions keep nobody waiting. Call it before a statement on all
 * sessions of a user: that one then has a bounded number of them.
 */
export async function endExcessSessions(core: Core, userId: string, keptId = ''): Promise<number> {
  return repeat(core, () => core.store.sessions.revokeExcess({ userId, keptId, kept: core.config.sessionsPerUser, now: core.now() }));
}

/** Deletes the user's sessions that were ended, in batches: before the account, with which the rest of them goes. */
export async function removeEndedSessions(core: Core, userId: string): Promise<number> {
  return repeat(core, () => core.store.sessions.removeEnded(userId));
}

async function repeat(core: Core, step: () => Step): Promise<number> {
  for (let total = 0; ;) {
    const [count = 0] = (await core.store.transact([step()])) ?? [];
    total += count;
    if (count < SESSIONS_AT_ONCE) return total;
  }
}
