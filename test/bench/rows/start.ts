import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { median } from '../load.ts';
import { startProcess } from '../processes.ts';
import { KEYTURN, KEYTURN_ENVIRONMENT, REFERENCE } from '../setting.ts';
import { interleave, type Options, type Row, spread } from './row.ts';

const IDLE_MS = 3_000;

/** From the start of the process, on one core, to its first 200; and its memory a few seconds later. */
export async function measureStart({ rounds, folder }: Options): Promise<Row[]> {
  const start = (name: string, file: string, env: Record<string, string>, path: string) => async () => {
    const own = join(folder, name);
    mkdirSync(own, { recursive: true });
    const startedAt = performance.now();
    const server = await startProcess(file, own, { ...env, DATA_DIR: own });
    await (await fetch(server.url + path)).text();
    const ms = performance.now() - startedAt;
    await sleep(IDLE_MS);
    const megabytes = server.rssMegabytes();
    await server.stop();
    return { ms, megabytes };
  };
  const keyturn = start('start', KEYTURN, KEYTURN_ENVIRONMENT, '/health');
  const reference = start('start-reference', REFERENCE, {}, '/users/me');
  await keyturn(); // makes the database
  const results = await interleave(rounds, { reference, keyturn });
  const [ms, megabytes] = [results.keyturn.map((each) => each.ms), results.keyturn.map((each) => each.megabytes)];
  return [
    { work: 'reference: start to first answer; memory', result: `${spread(results.reference.map((each) => each.ms), 'ms')}; ${spread(results.reference.map((each) => each.megabytes), 'MB')}`, ratio: '', bar: '', met: null },
    { work: '**cold start** to the first 200, documentation included', result: spread(ms, 'ms'), ratio: '', bar: 'at most 600 ms', met: median(ms) <= 600 },
    { work: '**idle memory** (RSS)', result: spread(megabytes, 'MB'), ratio: '', bar: 'at most 90 MB', met: median(megabytes) <= 90 },
  ];
}
