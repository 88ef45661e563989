import { measure, median } from '../load.ts';
import { KEYTURN, KEYTURN_ENVIRONMENT, startSeeded } from '../setting.ts';
import { postgresPrograms, query, startCluster } from '../../support/postgres.ts';
import { interleave, type Options, rateAndCpu, type Row } from './row.ts';

/** me and refresh on a PostgreSQL server of the benchmark's own, on the load's core; its fsync is off, for round trips are what is measured. */
export async function measurePostgres({ rounds, seconds, folder }: Options): Promise<Row[]> {
  if (!postgresPrograms()) return [{ work: 'PostgreSQL', result: 'skipped: there is no server program on this machine', ratio: '', bar: '', met: null }];
  const cluster = await startCluster();
  try {
    await query(cluster.url('postgres'), 'CREATE DATABASE bench');
    const { server, cookie, signIn } = await startSeeded('postgres', KEYTURN, {
      ...KEYTURN_ENVIRONMENT, DATABASE_URL: cluster.url('bench'), SECRET_KEY: 'YSBrZXkgZm9yIGJlbmNobWFya3Mgb24gUG9zdGdyZVNRTA',
    }, '__Host-refresh_token', folder);
    const results = await interleave(rounds, {
      me: async () => measure(server, { script: 'get', args: ['/users/me', (await signIn()).access], seconds }),
      refresh: async () => measure(server, { script: 'refresh', args: [cookie, (await signIn()).refresh], seconds }),
    });
    await server.stop();
    const row = (name: keyof typeof results, path: string): Row => ({
      work: `PostgreSQL: \`${path}\``, result: `${rateAndCpu(results[name])}, p50 ${median(results[name].map(({ p50Ms }) => p50Ms)).toFixed(1)} ms`,
      ratio: '1 statement', bar: '', met: null,
    });
    return [row('me', 'GET /users/me'), row('refresh', 'POST /auth/refresh')];
  } finally {
    cluster.stop();
  }
}
