import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { measure, median } from '../load.ts';
import { SERVER_CORE } from '../processes.ts';
import { KEYTURN, KEYTURN_ENVIRONMENT, PASSWORD, REFERENCE, type Seeded, startSeeded } from '../setting.ts';
import { interleave, type Options, ratios, type Row, spread, times } from './row.ts';

const run = promisify(execFile);

/** POST /auth/login at argon2id 19 MiB, 2, 1, against the reference app, and against the bare rate of each implementation on the same core. */
export async function measureLogins({ rounds, seconds: atLeast, folder }: Options): Promise<Row[]> {
  const seconds = 3 * atLeast; // what wrk has under way at the end is not counted: 32 of some hundreds
  const reference = await startSeeded('logins-reference', REFERENCE, {}, 'refresh_token', folder, 64);
  const keyturn = await startSeeded('logins', KEYTURN, KEYTURN_ENVIRONMENT, '__Host-refresh_token', folder, 64);
  const login = ({ server, emails }: Seeded) => async () => (await measure(server, { script: 'login', args: [PASSWORD, emails], seconds })).perSecond;
  const results = await interleave(rounds, {
    reference: login(reference), keyturn: login(keyturn), argon2: hashRate('argon2', seconds), 'node-rs': hashRate('@node-rs/argon2', seconds),
  });
  for (const { server } of [reference, keyturn]) await server.stop();
  const fastest = results.argon2.map((rate, round) => Math.max(rate, results['node-rs'][round] ?? 0));
  const share = ratios(results.keyturn, fastest, (rate) => rate);
  const rate = ratios(results.keyturn, results.reference, (each) => each);
  return [
    { work: 'reference: `POST /auth/login`', result: spread(results.reference, '/s', 1), ratio: '1', bar: '', met: null },
    { work: '**`POST /auth/login`**, argon2id 19 MiB, 2, 1', result: spread(results.keyturn, '/s', 1), ratio: times(rate), bar: '', met: null },
    { work: 'hashes alone, argon2', result: spread(results.argon2, '/s', 1), ratio: '', bar: '', met: null },
    { work: 'hashes alone, @node-rs/argon2', result: spread(results['node-rs'], '/s', 1), ratio: `logins ${times(share)}`, bar: 'at least 0.95 × the faster', met: median(share) >= 0.95 },
  ];
}

function hashRate(name: string, seconds: number) {
  const script = fileURLToPath(new URL('../hash-rate.ts', import.meta.url));
  return async () => Number((await run('taskset', ['-c', SERVER_CORE, process.execPath, script, name, String(seconds)])).stdout);
}
