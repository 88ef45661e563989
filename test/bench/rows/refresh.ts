import { measure, median } from '../load.ts';
import { KEYTURN, KEYTURN_ENVIRONMENT, REFERENCE, type Seeded, startSeeded } from '../setting.ts';
import { interleave, type Options, rateAndCpu, ratios, type Row, spread, times } from './row.ts';

/** POST /auth/refresh of 256 sessions, each answer's cookie used for the next request; durable on both sides. */
export async function measureRefresh({ rounds, seconds, folder }: Options): Promise<Row[]> {
  const reference = await startSeeded('refresh-reference', REFERENCE, {}, 'refresh_token', folder);
  const keyturn = await startSeeded('refresh', KEYTURN, KEYTURN_ENVIRONMENT, '__Host-refresh_token', folder);
  const refresh = ({ server, cookie, signIn }: Seeded) => async () =>
    measure(server, { script: 'refresh', args: [cookie, (await signIn()).refresh], seconds });
  const results = await interleave(rounds, { reference: refresh(reference), keyturn: refresh(keyturn) });
  for (const { server } of [reference, keyturn]) await server.stop();
  const cpu = ratios(results.reference, results.keyturn, ({ cpuMicros }) => cpuMicros);
  const rate = ratios(results.keyturn, results.reference, ({ perSecond }) => perSecond);
  return [
    { work: 'reference: `POST /auth/refresh`', result: rateAndCpu(results.reference), ratio: '1', bar: '', met: null },
    { work: '**`POST /auth/refresh`**, rotating, FULL', result: rateAndCpu(results.keyturn), ratio: `${times(rate)}, CPU 1/${spread(cpu, '', 2)}`, bar: 'at least 6 × its rate', met: median(rate) >= 6 },
  ];
}
