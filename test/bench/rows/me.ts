import { measure, median } from '../load.ts';
import { startProcess } from '../processes.ts';
import { BARE, KEYTURN, KEYTURN_ENVIRONMENT, REFERENCE, type Seeded, startSeeded } from '../setting.ts';
import { interleave, type Options, rateAndCpu, ratios, type Row, times } from './row.ts';

/** GET /users/me, with its session check, against an app without one, and against the least that Fastify does. */
export async function measureMe({ rounds, seconds, folder }: Options): Promise<Row[]> {
  const bare = await startProcess(BARE, folder);
  const reference = await startSeeded('me-reference', REFERENCE, {}, 'refresh_token', folder);
  const keyturn = await startSeeded('me', KEYTURN, KEYTURN_ENVIRONMENT, '__Host-refresh_token', folder);
  const bareRoute = () => measure(bare, { script: 'get', args: ['/bare'], seconds });
  const me = async ({ server, signIn }: Seeded) => {
    const { access } = await signIn();
    return () => measure(server, { script: 'get', args: ['/users/me', access], seconds });
  };
  const measurements = { bare: bareRoute, reference: await me(reference), keyturn: await me(keyturn) };
  await interleave(1, measurements); // warms up
  const results = await interleave(rounds, measurements);
  for (const server of [bare, reference.server, keyturn.server]) await server.stop();
  const rate = ratios(results.keyturn, results.reference, ({ perSecond }) => perSecond);
  const cpu = ratios(results.keyturn, results.bare, ({ cpuMicros }) => cpuMicros);
  return [
    { work: 'reference: `GET /users/me` without session check', result: rateAndCpu(results.reference), ratio: '1', bar: '', met: null },
    { work: '**`GET /users/me`**, with session check', result: rateAndCpu(results.keyturn), ratio: times(rate), bar: 'at least 1.3 × its rate', met: median(rate) >= 1.3 },
    { work: 'a bare Fastify route', result: rateAndCpu(results.bare), ratio: `CPU ${times(cpu)}`, bar: 'at most 1.6 × its CPU', met: median(cpu) <= 1.6 },
  ];
}
