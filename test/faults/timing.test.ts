import { randomBytes, randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import bcrypt from 'bcrypt';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { databaseFor, temporaryFolder } from '../support/app.ts';
import { cli } from '../support/cli.ts';
import { type Server, startServer } from '../support/server.ts';

const SAMPLES = 200;
const ROUNDS = 3;
const KNOWN_ACCOUNTS = 20;
/** A hash takes some milliseconds: without the same work for both kinds it stands out. */
const COST = { ARGON2_MEMORY_KIB: '4096', ARGON2_TIME_COST: '2' };
const password = 'a wrong passphrase';

const ROUTES: [string, (email: string) => object][] = [
  ['/auth/register', (email) => ({ email, password })],
  ['/auth/login', (email) => ({ email, password })],
  ['/auth/forgot-password', (email) => ({ email })],
  ['/auth/verify-email/resend', (email) => ({ email })],
];

/** A server, and addresses that have accounts on it. */
type Setting = { server: Server; known: string[] };

const cleanUp: (() => unknown)[] = [];
const later = (work: () => unknown) => void cleanUp.unshift(work);
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

const newAddress = () => `${randomBytes(6).toString('hex')}@example.com`;
const start = (folder: string, env: Record<string, string> = {}) =>
  startServer({ DATA_DIR: folder, REQUIRE_EMAIL_VERIFICATION: 'true', LOG_LEVEL: 'info', ...COST, ...env }, later);

let usual: Setting;
beforeAll(async () => { usual = await startWithAccounts(temporaryFolder(later)); });
afterAll(async () => {
  agent.destroy();
  for (const work of cleanUp) await work();
});

async function startWithAccounts(folder: string): Promise<Setting> {
  const server = await start(folder);
  const known = Array.from({ length: KNOWN_ACCOUNTS }, newAddress);
  for (const email of known) await server.post('/auth/register', { email, password: 'the right passphrase' });
  return { server, known };
}

/** All accounts have a hash of an older cost: with the new one a hash takes four times as long. */
async function startWithOlderCost(): Promise<Setting> {
  const folder = temporaryFolder(later);
  const { server, known } = await startWithAccounts(folder);
  await server.stop('SIGTERM');
  return { server: await start(folder, { ARGON2_MEMORY_KIB: '16384' }), known };
}

/** All accounts come from an import: bcrypt, which takes some ten milliseconds, inside argon2id. */
async function startWithImport(): Promise<Setting> {
  const folder = temporaryFolder(later);
  await (await start(folder)).stop('SIGTERM'); // makes the tables
  const known = Array.from({ length: KNOWN_ACCOUNTS }, newAddress);
  const file = join(folder, 'users.jsonl');
  const password_hash = await bcrypt.hash('the right passphrase', 8);
  writeFileSync(file, known.map((email) => JSON.stringify({ email, password_hash })).join('\n'));
  const { code } = await cli(['users', 'import', file], { DATA_DIR: folder, ...(await databaseFor(folder)), ...COST });
  expect(code).toBe(0);
  return { server: await start(folder), known };
}

/** Milliseconds until the whole answer has come, over one connection that stays open. */
function measure({ server }: Setting, path: string, body: object): Promise<{ status: number; ms: number }> {
  const payload = JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const begun = performance.now();
    const sent = request(server.url + path, { method: 'POST', agent, headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) } }, (answer) => {
      answer.resume().on('end', () => resolve({ status: answer.statusCode ?? 0, ms: performance.now() - begun }));
    });
    sent.on('error', reject).end(payload);
  });
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return ((sorted[Math.floor((sorted.length - 1) / 2)] ?? 0) + (sorted[Math.ceil((sorted.length - 1) / 2)] ?? 0)) / 2;
}

/** Samples of both kinds in random order, so that what the machine does meanwhile hits both. */
async function compare(setting: Setting, path: string, body: (email: string) => object) {
  const times = { known: [] as number[], unknown: [] as number[] };
  const order = Array.from({ length: SAMPLES }, () => (randomInt(2) ? ['known', 'unknown'] as const : ['unknown', 'known'] as const)).flat();
  const statuses = new Set<number>();
  for (const kind of order) {
    const email = kind === 'known' ? setting.known[randomInt(KNOWN_ACCOUNTS)]! : newAddress();
    const { status, ms } = await measure(setting, path, body(email));
    times[kind].push(ms);
    statuses.add(status);
  }
  expect(statuses.size).toBe(1);
  const all = [...times.known, ...times.unknown];
  const middle = median(all);
  const deviation = median(all.map((ms) => Math.abs(ms - middle)));
  return { difference: Math.abs(median(times.known) - median(times.unknown)), allowed: Math.max(deviation / 10, 1), middle };
}

/** A machine may be busy with something else for a round; a difference that is there is there in each. */
async function expectEqual(setting: Setting, path: string, body: (email: string) => object) {
  const rounds: Awaited<ReturnType<typeof compare>>[] = [];
  for (let round = 0; round < 5; round += 1) await measure(setting, path, body(newAddress()));
  while (rounds.length < ROUNDS && !rounds.some(({ difference, allowed }) => difference <= allowed)) rounds.push(await compare(setting, path, body));
  if (process.env.TIMING) console.log(path, rounds);
  expect(rounds.at(-1)!.difference, JSON.stringify(rounds)).toBeLessThanOrEqual(rounds.at(-1)!.allowed);
}

test.each(ROUTES)('%s takes as long for an address that has an account as for one that has none', async (path, body) => {
  await expectEqual(usual, path, body);
});

test.each([
  ['of an older argon2 cost', startWithOlderCost],
  ['that were imported', startWithImport],
])('a sign-in takes as long where accounts have hashes %s', async (_hashes, startSetting) => {
  await expectEqual(await startSetting(), '/auth/login', (email) => ({ email, password }));
});
