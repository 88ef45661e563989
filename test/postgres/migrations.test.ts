import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { type MigrationProgress, openDb } from '../../src/store/db.ts';
import { databaseFor, temporaryFolder } from '../support/app.ts';

test('a start waits for another process that migrates, says so, and then migrates itself, at every isolation level', async () => {
  const { DATABASE_URL: url = '' } = await databaseFor(temporaryFolder());
  const other = new pg.Client({ connectionString: url });
  await other.connect();
  await other.query(`ALTER DATABASE ${new URL(url).pathname.slice(1)} SET default_transaction_isolation = 'serializable'`);
  await other.query('BEGIN; SELECT pg_advisory_xact_lock(x\'6b65797475726e\'::bigint)');
  const starts = [1, 2].map(async () => {
    const told: MigrationProgress['phase'][] = [];
    const db = await openDb({ dialect: 'postgres', url, poolSize: 1, timeoutMs: 5000 }, { onMigration: ({ phase }) => {
      told.push(phase);
      if (phase === 'waiting') waiting += 1;
    } });
    onTestFinished(() => db.close());
    return told;
  });
  let waiting = 0;
  await expect.poll(() => waiting).toBe(2);
  await other.end();
  expect((await Promise.all(starts)).sort((a, b) => a.length - b.length)).toEqual([['waiting'], ['waiting', 'running', 'done']]);
});
