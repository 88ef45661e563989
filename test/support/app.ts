import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { InjectOptions } from 'fastify';
import { inject, onTestFinished } from 'vitest';
import { type App, buildApp } from '../../src/app.ts';
import { type Config, loadConfig } from '../../src/config.ts';
import { query } from './postgres.ts';

/** Cheap password hashes and no limits; all else as in production. */
export const TEST_ENVIRONMENT = {
  NODE_ENV: 'test', LOG_LEVEL: 'debug', RATE_LIMIT_ENABLED: 'false', PORT: '0',
  ARGON2_MEMORY_KIB: '8', ARGON2_TIME_COST: '1', DATABASE_TIMEOUT_MS: '30000', // a slow machine is not an absent database
};

/** Production refuses to be without limits: these are counted, and not reached. */
const LIMITS_OF_PRODUCTION = {
  RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '1000000',
  RATE_LIMIT_TOKENS_PER_MINUTE: '1000000', RATE_LIMIT_PER_MINUTE: '1000000',
};

export const PASSWORD = 'correct horse battery';
/** Production without SMTP_URL. */
export const WITHOUT_MAIL = { NODE_ENV: 'production', ARGON2_MEMORY_KIB: '', ARGON2_TIME_COST: '' };
export const DAY_MS = 86_400_000;
/** An address that nobody has, so that no throttle but that of requests counts. */
export const anyone = () => `${randomUUID()}@example.com`;

/** The server of the `postgres` project; undefined in the `sqlite` one. */
const postgres = inject('postgres');
const databases = new Map<string, string>();

/** What makes a process keep its data in the folder, or in a database of the same name on the test's PostgreSQL. */
export async function databaseFor(folder: string): Promise<Record<string, string>> {
  if (postgres === undefined) return {};
  const name = basename(folder).toLowerCase().replaceAll('-', '_');
  if (!databases.has(folder)) await query(`${postgres}/postgres`, `CREATE DATABASE ${name}`);
  databases.set(folder, name);
  return { DATABASE_URL: `${postgres}/${name}`, SECRET_KEY: 'YSBrZXkgZm9yIHRlc3RzIG9uIFBvc3RncmVTUUwgb25seQ' };
}

type Answer = Awaited<ReturnType<App['inject']>>;
export type TestApp = Awaited<ReturnType<typeof startApp>>;

/** A folder that is gone after the test, or after what is named. */
export function temporaryFolder(after: (remove: () => void) => void = onTestFinished): string {
  const folder = mkdtempSync(join(tmpdir(), 'keyturn-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The production app on a database of its own, with a clock that the test moves and a log that it can read. */
export async function startApp(
  env: Record<string, string> = {}, adapt = (config: Config): Config => config, startedAt = Date.now(),
) {
  const folder = env.DATA_DIR ?? temporaryFolder();
  const clock = { now: startedAt };
  const logLines: string[] = [];
  const printed: string[] = [];
  const app = await buildApp(adapt(loadConfig({ ...TEST_ENVIRONMENT, DATA_DIR: folder, ...(await databaseFor(folder)), ...(env.NODE_ENV === 'production' && LIMITS_OF_PRODUCTION), ...env })), {
    now: () => clock.now,
    logTo: { write: (line) => void logLines.push(line) },
    printMail: (text) => void printed.push(text),
  });
  onTestFinished(() => app.close());

  const request = (options: InjectOptions) => app.inject(options);
  const post = (url: string, payload?: object, headers: Record<string, string> = {}) =>
    request({ method: 'POST', url, headers, ...(payload && { payload }) });
  const get = (url: string, accessToken?: string) =>
    request({ method: 'GET', url, headers: accessToken === undefined ? {} : bearer(accessToken) });

  return {
    app, clock, folder, logLines, request, post, get,
    /** Signs up and is signed in. */
    register: async (email = 'john@example.com', password = PASSWORD) => tokensOf(await post('/auth/register', { email, password })),
    login: async (email = 'john@example.com', password = PASSWORD) => tokensOf(await post('/auth/login', { email, password })),
    refresh: (refreshToken: string) => post('/auth/refresh', { refresh_token: refreshToken }),
    /** Delivers what is due; yields the mails that were printed since the last call. */
    mails: async () => {
      await app.postman.deliver();
      return printed.splice(0).map(readPrinted);
    },
    events: () => logLines.map((line) => (JSON.parse(line) as { event?: string }).event),
    /**
     * Exactly the security events that the requests in `work` log, in order, each with all of its own fields.
     * Compare it with toEqual: a test of the log must fail for an event too many, too.
     */
    eventsOf: async (work: () => Promise<unknown>) => {
      const before = logLines.length;
      await work();
      return logLines.slice(before).flatMap(readEvent);
    },
  };
}

const ON_EVERY_LINE = ['level', 'time', 'pid', 'hostname', 'request_id', 'msg'];

/** The event of a line that a request wrote, with its own fields; none if it is the request's access line. */
function readEvent(line: string) {
  const fields = JSON.parse(line) as Record<string, unknown>;
  if (fields.request_id === undefined || fields.event === undefined || fields.event === 'request') return [];
  return [Object.fromEntries(Object.entries(fields).filter(([name]) => !ON_EVERY_LINE.includes(name)))];
}

/** A mail as it is printed where there is no mail server. */
function readPrinted(mail: string) {
  const [, to = '', subject = '', text = ''] = /^To: (.+)\nSubject: (.+)\n\n([\s\S]*)\n───/m.exec(mail) ?? [];
  const link = /https?:\S+[?#]token=\S+/.exec(text)?.[0] ?? null;
  return { to, subject, text, link, token: link?.split('token=')[1] ?? null };
}

export function bearer(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}

/** The tokens of a successful answer. */
export function tokensOf(answer: Answer): { accessToken: string; refreshToken: string; userId: string } {
  if (answer.statusCode >= 300) throw new Error(`expected tokens, got ${answer.statusCode}: ${answer.body}`);
  const body = answer.json<{ access_token: string; refresh_token: string; user?: { id: string } }>();
  return { accessToken: body.access_token, refreshToken: body.refresh_token, userId: body.user?.id ?? '' };
}

/** What Set-Cookie says of the refresh cookie; undefined if it says nothing. */
export function cookieOf(answer: Answer) {
  return answer.cookies.find(({ name }) => name.endsWith('refresh_token'));
}

/** `status code`, for a compact expectation. */
export function problemOf(answer: Answer): string {
  return `${answer.statusCode} ${answer.json<{ code?: string }>().code ?? ''}`.trim();
}
