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

/** Opens the store, closes it after the last request, and sweeps out what has expired (ASVS 14.2.7). */
export default fp(async (app) => {
  const store = await open(app);
  app.decorate('store', store);

  async function purge() {
    const now = app.now();
    while ((await store.sessions.purge(now)) === 1000);
    while ((await store.throttles.purge(now)) === 1000);
    while ((await store.oneTimeTokens.purge(now - EXPIRED_LINK_KEPT_MS)) === 1000);
    await purgeUnverified(now);
  }
  async function purgeUnverified(now: number) {
    let count = 0;
    let deleted: number;
    do {
      deleted = await store.users.purgeUnverified(now);
      count += deleted;
    } while (deleted === 1000);
    if (count > 0) app.log.info({ event: 'unverified_accounts_purged', count }, 'deleted accounts whose address was never verified');
  }
  const sweep = () => void purge().catch((error: unknown) => app.log.error({ event: 'purge_failed', err: error }, 'could not delete what has expired'));
  const timer = setInterval(sweep, PURGE_EVERY_MS);
  timer.unref();
  app.addHook('onReady', async () => sweep());
  app.addHook('onClose', async () => {
    clearInterval(timer);
    await store.close();
  });
}, { name: 'store' });

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
  }
}
