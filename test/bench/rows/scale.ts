import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Load, measure, median } from '../load.ts';
import { startProcess } from '../processes.ts';
import { seed } from '../seed.ts';
import { KEYTURN, KEYTURN_ENVIRONMENT, keepLines, PASSWORD } from '../setting.ts';
import { interleave, type Options, ratios, type Row, spread, times } from './row.ts';

const SMALL = 1_000;
/** of each database, as many are asked for */
const SAMPLE = 1_000;
const CHEAP_HASH = { NODE_ENV: 'test', ARGON2_MEMORY_KIB: '8', ARGON2_TIME_COST: '1' };

/** me, refresh and login (with a cheap hash) on a large database against a small one. */
export async function measureScale({ rounds, seconds, users, folder }: Options): Promise<Row[]> {
  const small = await start(SMALL, folder);
  const large = await start(users, folder);
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

async function start(users: number, folder: string) {
  const own = join(folder, `scale-${users}`);
  mkdirSync(own);
  const env = { ...KEYTURN_ENVIRONMENT, ...CHEAP_HASH, DATA_DIR: own };
  const sample = await seed(env, users, SAMPLE);
  const server = await startProcess(KEYTURN, own, env);
  const keep = (kind: string, lines: string[]) => keepLines(own, kind, lines);
  let { refreshTokens } = sample;
  const emails = keep('emails', sample.emails);

  /** Each session is refreshed here once, for its access token and for a token to begin with. */
  async function refreshAll() {
    const answers = await Promise.all(refreshTokens.map(async (token) => {
      const answer = await fetch(`${server.url}/auth/refresh`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ refresh_token: token }) });
      return (await answer.json()) as { access_token: string; refresh_token: string };
    }));
    refreshTokens = answers.map((each) => each.refresh_token);
    return answers.map((each) => each.access_token);
  }

  async function load(work: 'me' | 'refresh' | 'login'): Promise<Omit<Load, 'seconds'>> {
    if (work === 'login') return { script: 'login', args: [PASSWORD, emails] };
    const access = await refreshAll();
    return work === 'me' ? { script: 'get', args: ['/users/me', keep('access', access)] } : { script: 'refresh', args: ['refresh_token', keep('refresh', refreshTokens)] };
  }
  return { server, load };
}
