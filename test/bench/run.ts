/**
 * npm run bench [-- --rounds 5 --seconds 4 --users 1000000 --only me,refresh,logins,latency,overload,start,scale,postgres]
 * Runs the rows in interleaved rounds and writes their table into test/bench/README.md.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { describeMachine } from './machine.ts';
import { has } from './processes.ts';
import { measureLatency } from './rows/latency.ts';
import { measureLogins } from './rows/logins.ts';
import { measureMe } from './rows/me.ts';
import { measureOverload } from './rows/overload.ts';
import { measurePostgres } from './rows/postgres.ts';
import { measureRefresh } from './rows/refresh.ts';
import { measureScale } from './rows/scale.ts';
import { measureStart } from './rows/start.ts';
import type { Options, Row } from './rows/row.ts';
import { makeFolder } from './setting.ts';

const ROWS: Record<string, (options: Options) => Promise<Row[]>> = {
  me: measureMe, refresh: measureRefresh, logins: measureLogins, latency: measureLatency, overload: measureOverload, start: measureStart,
  postgres: measurePostgres, scale: measureScale,
};
const README = new URL('README.md', import.meta.url);
const BEGIN = '<!-- results: made by npm run bench -->';
const END = '<!-- end of results -->';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, seconds: { type: 'string', default: '4' }, users: { type: 'string', default: '100000' }, only: { type: 'string' } },
});
const missing = ['wrk', 'taskset'].filter((program) => !has(program));
if (missing.length > 0) {
  console.log(`The benchmark was skipped: it needs ${missing.join(' and ')}. On Debian: apt-get install wrk util-linux`);
} else {
  await runAll(values.only?.split(',') ?? Object.keys(ROWS));
}

async function runAll(names: string[]) {
  const options = { rounds: Number(values.rounds), seconds: Number(values.seconds), users: Number(values.users), folder: makeFolder() };
  const table: string[] = [];
  for (const name of names) {
    const measureRows = ROWS[name];
    if (!measureRows) throw new Error(`there is no row ${name}; there are ${Object.keys(ROWS).join(', ')}`);
    process.stderr.write(`${name} …\n`);
    for (const { work, result, ratio, bar, met } of await measureRows(options)) {
      const line = `| ${work} | ${result} | ${ratio} | ${bar} | ${met === null ? '' : met ? 'yes' : '**no**'} |`;
      console.log(line);
      table.push(line);
    }
  }
  const text = `${describeMachine(options)}\n\n| work | measured: median (lowest to highest) | ratio | bar | met |\n|---|---|---|---|---|\n${table.join('\n')}\n`;
  if (names.length === Object.keys(ROWS).length) writeResults(text);
}

function writeResults(text: string) {
  const page = readFileSync(README, 'utf8');
  const [before, rest] = page.split(BEGIN);
  const after = rest?.split(END)[1];
  if (before === undefined || after === undefined) throw new Error(`${README.pathname} needs ${BEGIN} and ${END}`);
  writeFileSync(README, `${before}${BEGIN}\n\n${text}\n${END}${after}`);
}
