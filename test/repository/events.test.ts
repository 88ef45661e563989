import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const SRC = join(import.meta.dirname, '../../src');
const sources = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((name) => /\.ts$/.test(name) && !/^(client|demo|pages)\//.test(name))
  .map((name) => [name, readFileSync(join(SRC, name), 'utf8')] as const);
const reference = readFileSync(join(SRC, 'README.md'), 'utf8');

/** Names of events that are not written as `event: 'name'`, and where they come from. */
const COMPUTED: Record<string, string[]> = {
  'plugins/problems.ts: problem.code': [...readFileSync(join(SRC, 'problems.ts'), 'utf8').matchAll(/new Problem\(5\d\d, '(\w+)'/g)].map(([, code]) => code!),
  'plugins/store.ts: `migration_${phase}`': ['migration_running', 'migration_done', 'migration_waiting', 'migration_copied'],
  'routes/registrations.ts: result.outcome': ['registered', 'already_registered'],
};

/** The rows of the table: event and level. */
const listed = new Map(reference.slice(reference.indexOf('### Log events'), reference.indexOf('### What is stored where')).split('\n')
  .filter((line) => line.startsWith('| `')).flatMap((line) => {
    const [, names = '', level = ''] = line.split('|');
    return [...names.matchAll(/`(\w+)`/g)].map(([, name]) => [name!, level.trim().split(', ')] as const);
  }));

const literalsIn = (text: string) => [...text.matchAll(/'([a-z_]+)'/g)].map(([, name]) => name!);

/** Each event of a file, and the level where the line tells it. */
function eventsOf(name: string, text: string): { event: string; level: string | undefined }[] {
  const logged = [...text.matchAll(/(?:log\.(\w+)\(\s*\{\s*)?\bevent: (`[^`]+`|[^,}]+)/g)].flatMap(([, level, value = '']) => {
    const expression = value.trim();
    const literals = literalsIn(expression).length > 0 ? literalsIn(expression) : COMPUTED[`${name}: ${expression}`];
    if (literals === undefined && !/^(string|keyof .*)\b/.test(expression)) throw new Error(`${name}: an event of another form: ${expression}`);
    return (literals ?? []).map((event) => ({ event, level }));
  });
  const named = [...text.matchAll(/\bconst event = ([^;]+);|refuseUnconfirmed\(request, ('\w+')/g)].flatMap(([, choice, argument]) => literalsIn(choice ?? argument ?? ''));
  return [...logged, ...named.map((event) => ({ event, level: undefined }))];
}

const found = sources.flatMap(([name, text]) => eventsOf(name, text));

test('the reference lists every event that the log can hold, and no other (ASVS 16.1.1)', () => {
  expect(found.length).toBeGreaterThan(40);
  const events = [...new Set(found.map(({ event }) => event))].sort();
  expect(events).toEqual([...listed.keys()].sort());
});

test('the reference names the level at which the code logs each event', () => {
  const levels = found.filter((each): each is { event: string; level: string } => /^(fatal|error|warn|info|debug)$/.test(each.level ?? ''));
  expect(levels.length).toBeGreaterThan(30);
  expect(levels.filter(({ event, level }) => !listed.get(event)?.includes(level))).toEqual([]);
});

test('what is worth an alarm is in the list', () => {
  const [, alarms = ''] = /Worth an alarm:([\s\S]*?)\n\n/.exec(reference) ?? [];
  const names = [...alarms.matchAll(/`(\w+)`/g)].map(([, name]) => name!);
  expect(names).toEqual(expect.arrayContaining(['refresh_token_reused', 'crash', 'unexpected']));
  expect(names.filter((name) => !listed.has(name))).toEqual([]);
});
