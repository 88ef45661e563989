import { measure, median } from '../load.ts';
import { startPopulated } from '../setting.ts';
import { interleave, type Options, ratios, type Row, spread, times } from './row.ts';

const SMALL = 1_000;
/** of each database, as many are asked for */
const SAMPLE = 1_000;
const CHEAP_HASH = { NODE_ENV: 'test', ARGON2_MEMORY_KIB: '8', ARGON2_TIME_COST: '1' };

/** me, refresh and login (with a cheap hash) on a large database against a small one. */
export async function measureScale({ rounds, seconds, users, folder }: Options): Promise<Row[]> {
  const small = await startPopulated(`scale-${SMALL}`, SMALL, SAMPLE, folder, CHEAP_HASH);
  const large = await startPopulated(`scale-${users}`, users, SAMPLE, folder, CHEAP_HASH);
  const rows: Row[] = [];
  for (const work of ['me', 'refresh', 'login'] as const) {
    const rate = (house: typeof small) => async () => (await measure(house.server, { ...(await house.load(work)), seconds })).perSecond;
    const results = await interleave(rounds, { small: rate(small), large: rate(large) });
    const ratio = ratios(results.large, results.small, (each) => each);
    rows.push({
      work: `${work}, ${users.toLocaleString('en-US')} users and sessions against ${SMALL.toLocaleString('en-US')}`, result: `${spread(results.large)}/s against ${spread(results.small)}/s`,
      ratio: times(ratio), bar: 'at least 0.9', met: median(ratio) >= 0.9,
    });
  }
  await small.server.stop();
  await large.server.stop();
  return rows;
}
