import { measure, median, offer, percentile } from '../load.ts';
import { PASSWORD, startPopulated } from '../setting.ts';
import { type Options, ratios, type Row, spread, times } from './row.ts';

const OVERLOAD = 4;
/** so many that few of them sign in twice at a time, for then they would take turns */
const USERS = 2_000;

/** Four times the logins that saturate the core, offered at a steady rate; and me and refresh with four times the connections. */
export async function measureOverload({ rounds, seconds, folder }: Options): Promise<Row[]> {
  const { server, addresses, load } = await startPopulated('overload', USERS, USERS, folder);
  const login = (at: number) => ({ path: '/auth/login', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ email: addresses[at % addresses.length], password: PASSWORD }) });
  const [peaks, rates, refusals, me, refresh]: [number[], number[], number[], number[], number[]] = [[], [], [], [], []];
  const memoryBefore = server.rssMegabytes();
  for (let round = 0; round < rounds; round += 1) {
    const peak = (await measure(server, { ...(await load('login')), seconds })).perSecond;
    const { ok, failed, refusedMs, seconds: took } = await offer(server.url, Math.ceil(OVERLOAD * peak), seconds, login);
    if (failed > 0) throw new Error(`${failed} logins failed under overload`);
    peaks.push(peak);
    rates.push(ok / took); // those that wait at the end are answered, too
    refusals.push(percentile(refusedMs, 0.99));
    const rate = async (work: 'me' | 'refresh', connections: number) => (await measure(server, { ...(await load(work)), seconds, connections })).perSecond;
    for (const [work, into] of [['me', me], ['refresh', refresh]] as const) {
      await rate(work, 32); // warms up
      into.push((await rate(work, 32 * OVERLOAD)) / (await rate(work, 32)));
    }
  }
  const memory = server.rssMegabytes();
  await server.stop();
  const kept = ratios(rates, peaks, (rate) => rate);
  return [
    { work: `logins offered at ${OVERLOAD} × the peak`, result: spread(rates, '/s', 1), ratio: times(kept), bar: 'at least 0.9 × the peak', met: median(kept) >= 0.9 },
    { work: 'the rest: refused with 503, p99', result: spread(refusals, 'ms', 1), ratio: '', bar: 'at most 50 ms', met: median(refusals) <= 50 },
    { work: `\`GET /users/me\`, ${32 * OVERLOAD} connections`, result: '', ratio: times(me), bar: 'at least 0.9 × 32 connections', met: median(me) >= 0.9 },
    { work: `\`POST /auth/refresh\`, ${32 * OVERLOAD} connections`, result: '', ratio: times(refresh), bar: 'at least 0.9 × 32 connections', met: median(refresh) >= 0.9 },
    { work: 'memory before and after', result: `${Math.round(memoryBefore)} and ${Math.round(memory)} MB`, ratio: '', bar: '', met: null },
  ];
}
