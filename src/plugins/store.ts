import { setTimeout as pause } from 'node:timers/promises';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { ConfigError, describeDatabase } from '../config.ts';
import { EXPIRED_LINK_KEPT_MS } from '../core/link-mails.ts';
import type { MigrationProgress } from '../store/db.ts';
import { openStore, type Store } from '../store/store.ts';

const MIGRATION_WORDS: Record<MigrationProgress['phase'], string> = {
  waiting: 'waiting for another process, which migrates the database',
  copied: 'kept a copy of the database as it was before the migration',
  running: 'migrating the database; nothing is served until it is done, and it may take long',
  done: 'migrated the database',
};
const PURGE_EVERY_MS = 60 * 60_000;
const PAUSE_MS = 5;

/** Opens the store, closes it after the last request, and sweeps out what has expired (ASVS 14.2.7). */
export default fp(async (app) => {
  const store = await open(app);
  app.decorate('store', store);

  let lastProven: (() => number) | undefined;
  async function purge() {
    lastProven ??= await proveTime(app);
    const now = lastProven();
    await inBatches(() => store.sessions.purge(now));
    await inBatches(() => store.throttles.purge(now));
    await inBatches(() => store.oneTimeTokens.purge(now - EXPIRED_LINK_KEPT_MS));
    const count = await inBatches(() => store.users.purgeUnverified(now));
    if (count > 0) app.log.info({ event: 'unverified_accounts_purged', count }, 'deleted accounts whose address was never verified');
  }
  app.decorate('purge', purge);
  const sweep = () => void purge().catch((error: unknown) => app.log.error({ event: 'purge_failed', err: error }, 'could not delete what has expired'));
  const timer = setInterval(sweep, PURGE_EVERY_MS);
  timer.unref();
  app.addHook('onReady', async () => sweep());
  app.addHook('onClose', async () => {
    clearInterval(timer);
    await store.close();
  });
}, { name: 'store' });

/**
 * The latest time that is known to have come: what the clock says, but no later than the newest sign-in that the database held
 * at the start, and the time that this process has run since. A clock that is days ahead deletes nothing that lives.
 */
async function proveTime({ now, store }: FastifyInstance): Promise<() => number> {
  const known = (await store.sessions.findNewestStart()) ?? now();
  const started = performance.now();
  return () => Math.min(now(), known + Math.floor(performance.now() - started));
}

/** Until nothing is left; requests get their turn in between. Yields how many rows that were. */
async function inBatches(purge: () => Promise<number>): Promise<number> {
  let count = 0;
  for (let deleted = await purge(); deleted > 0; deleted = await purge()) {
    count += deleted;
    await pause(PAUSE_MS);
  }
  return count;
}

async function open({ config: { database }, log }: FastifyInstance): Promise<Store> {
  const onConnectionLost = (error: Error) => log.warn({ event: 'database_connection_lost', err: error }, 'lost an idle connection to the database');
  try {
    return await openStore(database, { onConnectionLost, onMigration: (progress) => logMigration(log, progress) });
  } catch (error) {
    throw new ConfigError('DATABASE_URL', `${describeDatabase(database)} cannot be opened (${(error as Error).message})`);
  }
}

function logMigration(log: FastifyBaseLogger, { phase, ...about }: MigrationProgress) {
  log.info({ event: `migration_${phase}`, ...about }, MIGRATION_WORDS[phase]);
}

declare module 'fastify' {
  interface FastifyInstance {
    store: Store;
    /** deletes what has expired; resolves when nothing is left */
    purge(): Promise<void>;
  }
}
