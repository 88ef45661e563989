import fp from 'fastify-plugin';
import { type Config, ConfigError } from '../config.ts';
import { openStore, type Store } from '../store/store.ts';

const PURGE_EVERY_MS = 60 * 60_000;

/** Opens the store, closes it after the last request, and sweeps out sessions past their absolute end (ASVS 14.2.7). */
export default fp(async (app) => {
  const store = open(app.config);
  app.decorate('store', store);

  async function purge() {
    let deleted: number;
    do {
      deleted = await store.sessions.purge(app.now());
    } while (deleted === 1000);
  }
  const sweep = () => void purge().catch((error: unknown) => app.log.error({ event: 'purge_failed', err: error }, 'could not delete old sessions'));
  const timer = setInterval(sweep, PURGE_EVERY_MS);
  timer.unref();
  app.addHook('onReady', async () => sweep());
  app.addHook('onClose', async () => {
    clearInterval(timer);
    store.close();
  });
}, { name: 'store' });

function open({ database }: Config): Store {
  try {
    return openStore(database);
  } catch (error) {
    throw new ConfigError('DATABASE_URL', `${database.path} cannot be opened (${(error as Error).message})`);
  }
}

declare module 'fastify' {
  interface FastifyInstance {
    store: Store;
  }
}
