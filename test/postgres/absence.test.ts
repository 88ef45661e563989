import { randomUUID } from 'node:crypto';
import { expect, inject, onTestFinished, test } from 'vitest';
import { PASSWORD, problemOf, startApp } from '../support/app.ts';
import { query, startCluster } from '../support/postgres.ts';

const PATIENCE = { timeout: 30_000 };
const SECRET_KEY = 'YSBrZXkgZm9yIHRlc3RzIG9uIFBvc3RncmVTUUwgb25seQ';

/** An app whose role owns a database of its own; `admin` runs statements as the superuser. */
async function startOwned(server = inject('postgres')!) {
  const name = `owned_${randomUUID().replaceAll('-', '')}`;
  const admin = (text: string, database = 'postgres') => query(`${server}/${database}`, text);
  await admin(`CREATE ROLE ${name} LOGIN PASSWORD 'first'`);
  await admin(`CREATE DATABASE ${name} OWNER ${name}`);
  const DATABASE_URL = `${server.replace('keyturn@', `${name}:first@`)}/${name}`;
  const app = await startApp({ DATABASE_URL, SECRET_KEY });
  const cut = () => admin(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${name}'`);
  return { ...app, name, admin, cut };
}

type Owned = Awaited<ReturnType<typeof startOwned>>;
type Form = [name: string, code: string, breakIt: (owned: Owned) => Promise<unknown>, mend: (owned: Owned) => Promise<unknown>];

const forms: Form[] = [
  ['it is read-only, as a standby is', '25006',
    async ({ admin, cut, name }) => { await admin(`ALTER DATABASE ${name} SET default_transaction_read_only = on`); await cut(); },
    ({ admin, name }) => admin(`ALTER DATABASE ${name} RESET default_transaction_read_only`)],
  ['the role is locked', '28000',
    async ({ admin, cut, name }) => { await admin(`ALTER ROLE ${name} NOLOGIN`); await cut(); },
    ({ admin, name }) => admin(`ALTER ROLE ${name} LOGIN`)],
  ['the database is gone', '3D000',
    async ({ admin, cut, name }) => {
      await admin(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
      await cut();
      await expect.poll(() => admin(`ALTER DATABASE ${name} RENAME TO ${name}_gone`).then(() => true, () => false), PATIENCE).toBe(true);
    },
    async ({ admin, name }) => {
      await admin(`ALTER DATABASE ${name}_gone RENAME TO ${name}`);
      await admin(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
    }],
  ['the right to write is missing', '42501',
    ({ admin, name }) => admin(`REVOKE UPDATE ON sessions FROM ${name}`, name),
    ({ admin, name }) => admin(`GRANT UPDATE ON sessions TO ${name}`, name)],
  ['every right is missing', '42501',
    ({ admin, name }) => admin(`REVOKE ALL ON ALL TABLES IN SCHEMA public FROM ${name}`, name),
    ({ admin, name }) => admin(`GRANT ALL ON ALL TABLES IN SCHEMA public TO ${name}`, name)],
  ['a table is missing', '42P01',
    ({ admin, name }) => admin('ALTER TABLE sessions RENAME TO hidden', name),
    ({ admin, name }) => admin('ALTER TABLE hidden RENAME TO sessions', name)],
];

/** Breaks the database, looks at what is answered and logged, mends it, and sees that it heals by itself. */
async function proveAbsence(owned: Owned, code: string, [breakIt, mend]: [Form[2], Form[3]]) {
  const { register, refresh, get, logLines } = owned;
  const { refreshToken } = await register();
  await breakIt(owned);
  const refused = async (ask: () => ReturnType<Owned['get']>) => {
    logLines.length = 0;
    const answer = await ask();
    expect([problemOf(answer), answer.headers['retry-after']]).toEqual(['503 database_away', '2']);
    const logged = logLines.map((line) => JSON.parse(line) as { event?: string; err?: { code?: string } });
    return logged.find(({ event }) => event === 'database_away')?.err?.code;
  };
  await expect.poll(() => refused(() => refresh(refreshToken)), PATIENCE).toBe(code); // connections that were just cut have another code
  for (const path of ['/health', '/health/ready']) expect(await refused(() => get(path))).toBe(code);
  expect((await get('/health/live')).statusCode).toBe(200);
  expect(logLines.join('')).not.toMatch(/params|Failed query/);
  await mend(owned);
  await expect.poll(async () => (await get('/health/ready')).statusCode, PATIENCE).toBe(200);
  expect((await refresh(refreshToken)).statusCode).toBe(200);
}

test.each(forms)('when %s, requests are answered 503, readiness is red, the log has %s, and it heals by itself', async (_name, code, ...work) => {
  await proveAbsence(await startOwned(), code, work);
});

test('when the password was changed, requests are answered 503, the log has 28P01, and it heals by itself', async () => {
  const cluster = await startCluster({ access: ['host all keyturn 127.0.0.1/32 trust', 'host all all 127.0.0.1/32 scram-sha-256'] });
  onTestFinished(() => cluster.stop());
  await proveAbsence(await startOwned(cluster.url('').replace(/\/$/, '')), '28P01', [
    async ({ admin, cut, name }) => { await admin(`ALTER ROLE ${name} PASSWORD 'second'`); await cut(); },
    ({ admin, name }) => admin(`ALTER ROLE ${name} PASSWORD 'first'`),
  ]);
});

test('a mistake of a statement is 500, and the log has its SQLSTATE and its name, and no word of what it was given', async () => {
  const { admin, name, post, register, logLines } = await startOwned();
  await register();
  await admin('ALTER TABLE sessions ALTER COLUMN ip TYPE integer USING 0', name); // a text as integer: 22P02 or 42804
  logLines.length = 0;
  const answer = await post('/auth/login', { email: 'john@example.com', password: PASSWORD }, { 'user-agent': 'Secret Agent' });
  expect(problemOf(answer)).toBe('500 unexpected');
  const line = logLines.find((each) => each.includes('"event":"unexpected"'))!;
  const { err } = JSON.parse(line) as { err: object };
  expect(err).toMatchObject({ type: 'StatementFailed', code: expect.stringMatching(/^(22|42)/) as string, statement: 'insert_session' });
  expect(line).not.toMatch(/params|Failed query|Secret Agent|127\.0\.0\.1/);
});
