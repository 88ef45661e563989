import { onTestFinished } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { openStore } from '../../src/store/store.ts';
import { databaseFor, temporaryFolder, TEST_ENVIRONMENT } from './app.ts';

/** An empty store on the database of the test's project. */
export async function openTestStore() {
  const folder = temporaryFolder();
  const { database } = loadConfig({ ...TEST_ENVIRONMENT, DATA_DIR: folder, ...(await databaseFor(folder)) });
  const store = await openStore(database);
  onTestFinished(() => store.close());
  return store;
}
