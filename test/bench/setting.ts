import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Load } from './load.ts';
import { startProcess } from './processes.ts';
import { seed } from './seed.ts';

export const PASSWORD = 'correct horse battery';
export const KEYTURN = '../../src/server.ts';
export const REFERENCE = './reference.ts';
export const BARE = './bare.ts';

/** As in production, but that one address may ask as often as it likes: limits are counted, and not reached. */
export const KEYTURN_ENVIRONMENT = {
  NODE_ENV: 'production', HOST: '127.0.0.1', PORT: '0',
  RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1000000', RATE_LIMIT_TOKENS_PER_MINUTE: '1000000', RATE_LIMIT_PER_MINUTE: '1000000',
};

type Tokens = { access_token: string; refresh_token: string };

/** A folder for everything of one run; it goes with the process. */
export function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'keyturn-bench-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A file of lines for wrk's scripts; yields its path. */
export function keepLines(folder: string, kind: string, lines: string[]): string {
  const path = join(folder, `${kind}.txt`);
  writeFileSync(path, lines.join('\n'));
  return path;
}

export type Seeded = Awaited<ReturnType<typeof startSeeded>>;

/** A server with some users; `signIn` makes sessions through its API and writes their tokens into files, for wrk. */
export async function startSeeded(name: string, file: string, env: Record<string, string>, cookie: string, folder: string, users = 32) {
  const own = join(folder, name);
  mkdirSync(own, { recursive: true });
  const server = await startProcess(file, own, { ...env, DATA_DIR: own });
  const emails = Array.from({ length: users }, (_, at) => `user${at}@example.com`);
  for (const email of emails) await post(server.url, '/auth/register', { email, password: PASSWORD });
  const keep = (kind: string, lines: string[]) => keepLines(own, kind, lines);
  return {
    server, cookie,
    emails: keep('emails', emails),
    signIn: async (sessions = 256) => {
      const tokens: Tokens[] = [];
      while (tokens.length < sessions) tokens.push(await post(server.url, '/auth/login', { email: emails[tokens.length % users], password: PASSWORD }));
      return { access: keep('access', tokens.map((each) => each.access_token)), refresh: keep('refresh', tokens.map((each) => each.refresh_token)) };
    },
  };
}

async function post(url: string, path: string, body: object): Promise<Tokens> {
  const answer = await fetch(url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as Tokens;
}

/** Keyturn with many users and sessions, of which a sample is used. */
export async function startPopulated(name: string, users: number, wanted: number, folder: string, more: Record<string, string> = {}) {
  const own = join(folder, name);
  mkdirSync(own);
  const env = { ...KEYTURN_ENVIRONMENT, ...more, DATA_DIR: own };
  const sample = await seed(env, PASSWORD, users, wanted);
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
    return work === 'me' ? { script: 'get', args: ['/users/me', keep('access', access)] } : { script: 'refresh', args: [env.NODE_ENV === 'production' ? '__Host-refresh_token' : 'refresh_token', keep('refresh', refreshTokens)] };
  }
  return { server, addresses: sample.emails, load };
}
