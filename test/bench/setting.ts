import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startProcess } from './processes.ts';

export const PASSWORD = 'correct horse battery staple';
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
