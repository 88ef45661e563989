import { randomBytes, randomInt } from 'node:crypto';
import { Agent, request } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { temporaryFolder } from '../support/app.ts';
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

let server: Server;
const known: string[] = [];
const cleanUp: (() => unknown)[] = [];
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

const newAddress = () => `${randomBytes(6).toString('hex')}@example.com`;

beforeAll(async () => {
  const later = (work: () => unknown) => void cleanUp.unshift(work);
  server = await startServer({ DATA_DIR: temporaryFolder(later), REQUIRE_EMAIL_VERIFICATION: 'true', LOG_LEVEL: 'info', ...COST }, later);
  while (known.length < KNOWN_ACCOUNTS) {
    const email = newAddress();
    await server.post('/auth/register', { email, password: 'the right passphrase' });
    known.push(email);
  }
});
afterAll(async () => {
  agent.destroy();
  for (const work of cleanUp) await work();
});

/** Milliseconds until the whole answer has come, over one connection that stays open. */
function measure(path: string, body: object): Promise<{ status: number; ms: number }> {
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
async function compare(path: string, body: (email: string) => object) {
  const times = { known: [] as number[], unknown: [] as number[] };
  const order = Array.from({ length: SAMPLES }, () => (randomInt(2) ? ['known', 'unknown'] as const : ['unknown', 'known'] as const)).flat();
  const statuses = new Set<number>();
  for (const kind of order) {
    const email = kind === 'known' ? known[randomInt(known.length)]! : newAddress();
    const { status, ms } = await measure(path, body(email));
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
test.each(ROUTES)('%s takes as long for an address that has an account as for one that has none', { timeout: 120_000 }, async (path, body) => {
  const rounds: Awaited<ReturnType<typeof compare>>[] = [];
  for (let round = 0; round < 5; round += 1) await measure(path, body(newAddress()));
  while (rounds.length < ROUNDS && !rounds.some(({ difference, allowed }) => difference <= allowed)) rounds.push(await compare(path, body));
  if (process.env.TIMING) console.log(path, rounds);
  expect(rounds.at(-1)!.difference, JSON.stringify(rounds)).toBeLessThanOrEqual(rounds.at(-1)!.allowed);
});
