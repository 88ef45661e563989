/** Writes .env.example and the README's table of configuration from the schema in src/config.ts. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { TSchema } from '@sinclair/typebox';
import { type Environment, EnvironmentSchema } from '../src/environment.ts';

/** The variable that opens each group. */
const GROUPS: Partial<Record<keyof Environment, string>> = {
  NODE_ENV: 'Server',
  DATA_DIR: 'Data and keys',
  JWT_ISSUER: 'Tokens and sessions',
  COOKIE_SAMESITE: 'Cookies, browsers and proxies',
  ARGON2_MEMORY_KIB: 'Passwords',
  SMTP_URL: 'Mail',
  LOGIN_ATTEMPTS_LIMIT: 'Throttles and rate limits',
  COMPAT_ROUTES: 'Routes',
};
const BEGIN = '<!-- configuration: made by npm run generate:docs -->';
const END = '<!-- end of configuration -->';

/** What a variable may be, where its default does not tell. */
function allowed({ anyOf, minimum, exclusiveMinimum, maximum }: TSchema): string {
  if (anyOf) return `. One of ${(anyOf as { const: string }[]).map((each) => each.const).join(', ')}`;
  if (maximum === undefined) return '';
  return exclusiveMinimum === undefined ? `. From ${String(minimum)} to ${String(maximum)}` : `. Over ${String(exclusiveMinimum)}, to ${String(maximum)}`;
}

const variables = Object.entries(EnvironmentSchema.properties).map(([name, schema]: [string, TSchema]) => ({
  name,
  group: GROUPS[name as keyof Environment],
  fallback: String(schema.default),
  meaning: String(schema.description) + allowed(schema),
}));

const assignments = variables.map(({ name, group, fallback, meaning }) =>
  `${group ? `\n## ${group}\n` : ''}\n# ${meaning}\n#${name}=${fallback}\n`);

const rows = variables.map(({ name, group, fallback, meaning }) =>
  `${group ? `| **${group}** | | |\n` : ''}| \`${name}\` | ${fallback && `\`${fallback}\``} | ${meaning.replaceAll('|', '\\|')} |\n`);

function replaceBetweenMarkers(page: string, text: string): string {
  const [before, rest, ...more] = page.split(BEGIN);
  const after = rest?.split(END)[1];
  if (before === undefined || after === undefined || more.length > 0) throw new Error(`README.md needs one ${BEGIN} and one ${END} after it`);
  return `${before}${BEGIN}\n${text}${END}${after}`;
}

const readme = new URL('../README.md', import.meta.url);
writeFileSync(new URL('../.env.example', import.meta.url),
  `# Nothing here is needed to start. Copy this file to .env, and take the # away before the lines to be changed.\n${assignments.join('')}`);
writeFileSync(readme, replaceBetweenMarkers(readFileSync(readme, 'utf8'), `\n| variable | default | what it does |\n|---|---|---|\n${rows.join('')}\n`));
