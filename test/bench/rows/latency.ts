import { readFileSync } from 'node:fs';
import { measure, median, offer, percentile } from '../load.ts';
import { KEYTURN, KEYTURN_ENVIRONMENT, PASSWORD, REFERENCE, type Seeded, startSeeded } from '../setting.ts';
import { interleave, type Options, ratios, type Row, spread, times } from './row.ts';

const PER_SECOND = 200;

/** The 99th percentile of GET /users/me at 200 a second, alone and beside as many logins as the core can do. */
export async function measureLatency({ rounds, seconds, folder }: Options): Promise<Row[]> {
  const reference = await startSeeded('latency-reference', REFERENCE, {}, 'refresh_token', folder, 64);
  const keyturn = await startSeeded('latency', KEYTURN, KEYTURN_ENVIRONMENT, '__Host-refresh_token', folder, 64);
  const probe = async (seeded: Seeded) => {
    const tokens = readFileSync((await seeded.signIn(64)).access, 'utf8').split('\n');
    return async () => {
      const { okMs, failed, refused } = await offer(seeded.server.url, PER_SECOND, seconds, (at) => ({ path: '/users/me', headers: { authorization: `Bearer ${tokens[at % tokens.length]}` } }));
      if (failed + refused > 0) throw new Error(`${failed + refused} requests of GET /users/me failed`);
      return percentile(okMs, 0.99);
    };
  };
  const beside = (seeded: Seeded, measureAlone: () => Promise<number>) => async () => {
    const logins = measure(seeded.server, { script: 'login', args: [PASSWORD, seeded.emails], seconds: seconds + 1 });
    const result = await measureAlone();
    await logins;
    return result;
  };
  const [alone, referenceAlone] = [await probe(keyturn), await probe(reference)];
  const results = await interleave(rounds, { alone, beside: beside(keyturn, alone), reference: beside(reference, referenceAlone) });
  for (const { server } of [reference, keyturn]) await server.stop();
  const ratio = ratios(results.beside, results.alone, (ms) => ms);
  return [
    { work: `\`GET /users/me\` at ${PER_SECOND}/s, p99`, result: spread(results.alone, 'ms', 1), ratio: '1', bar: '', met: null },
    { work: 'the same beside saturated logins: reference', result: spread(results.reference, 'ms', 1), ratio: '', bar: '', met: null },
    { work: '**the same beside saturated logins**', result: spread(results.beside, 'ms', 1), ratio: times(ratio), bar: 'at most 3 × its p99 without', met: median(ratio) <= 3 },
  ];
}
