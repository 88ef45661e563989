import { createPublicKey, generateKeyPairSync, type JsonWebKey, verify } from 'node:crypto';
import { expect, test } from 'vitest';
import { databaseFor, PASSWORD, temporaryFolder } from '../support/app.ts';
import { type Server, startServer, type Tokens, tokensIn } from '../support/server.ts';

const CLIENTS = 4;
const OLD = 'dGhlLW9sZC1rZXktb2YtdGhlLXJvbGwtb3Zlci10ZXN0';
const NEW = 'dGhlLW5ldy1rZXktb2YtdGhlLXJvbGwtb3Zlci10ZXN0';
const ec = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

/** Three copies of the server on one PostgreSQL, that are replaced one after another as a rolling restart does. */
async function startCopies(env: Record<string, string>) {
  const folder = temporaryFolder();
  const common = { DATA_DIR: folder, ...(await databaseFor(folder)) };
  const start = (changed: Record<string, string>) => startServer({ ...common, ...env, ...changed });
  const copies = [await start({}), await start({}), await start({})];
  return {
    copies,
    roll: async (changed: Record<string, string>) => {
      for (const [at, old] of copies.entries()) {
        copies[at] = await start(changed);
        expect(await old.stop('SIGTERM')).toBe(0);
      }
    },
  };
}

/** Users who go on all the while, each request to another copy. What is not answered 2xx is remembered. */
function startClients(copies: Server[], check: (accessToken: string) => void = () => undefined) {
  const state = { stopping: false, signInAnew: false, failures: [] as string[], rounds: Array<number>(CLIENTS).fill(0), signedInAnew: new Set<number>() };
  let turn = 0;
  const ask = async (what: string, send: (copy: Server) => Promise<Response>) => {
    turn += 1;
    const answer = await send(copies[turn % copies.length]!);
    if (!answer.ok) state.failures.push(`${what}: ${answer.status} ${await answer.text()}`);
    return answer;
  };
  const signIn = async (client: number, known?: Tokens) => {
    const cookie = known && { cookie: `refresh_token=${known.refresh_token}` };
    return tokensIn(await ask('sign-in', (copy) => copy.post('/auth/login', { username: `user${client}`, password: PASSWORD }, cookie)));
  };
  const live = async (client: number) => {
    await ask('sign-up', (copy) => copy.post('/auth/register', { username: `user${client}`, password: PASSWORD }));
    let tokens = await signIn(client);
    while (!state.stopping) {
      const anew = state.signInAnew && !state.signedInAnew.has(client);
      tokens = anew ? await signIn(client, tokens) : await tokensIn(await ask('refresh', (copy) => copy.post('/auth/refresh', { refresh_token: tokens.refresh_token })));
      if (anew) state.signedInAnew.add(client);
      check(tokens.access_token);
      await ask('me', (copy) => copy.get('/users/me', tokens.access_token));
      const { sessions } = (await (await ask('list', (copy) => copy.get('/auth/sessions', tokens.access_token))).json()) as { sessions: { current: boolean }[] };
      if (!sessions.some(({ current }) => current)) state.failures.push('the list lacks this session');
      const other = await signIn(client);
      await ask('sign-out', (copy) => copy.post('/auth/logout', { refresh_token: other.refresh_token }));
      const gone = await copies[turn % copies.length]!.get('/users/me', other.access_token);
      if (gone.status !== 401) state.failures.push(`signed out: ${gone.status}`);
      state.rounds[client]! += 1;
    }
  };
  const done = Promise.all(state.rounds.map((_, client) => live(client).catch((error: unknown) => {
    state.failures.push(String(error));
    state.stopping = true;
  })));
  return {
    failures: state.failures,
    /** Waits until every client went on for some rounds, so that each has met each copy. */
    async settle(rounds = 3) {
      const from = [...state.rounds];
      await expect.poll(() => state.stopping || state.rounds.every((count, at) => count >= from[at]! + rounds), { timeout: 200_000 }).toBe(true);
      expect(state.failures).toEqual([]);
    },
    /** As time would: every session that began under an older key is over, and its user has signed in again. */
    async signInAnew() {
      state.signInAnew = true;
      await expect.poll(() => state.stopping || state.signedInAnew.size === CLIENTS, { timeout: 200_000 }).toBe(true);
    },
    async stop() {
      state.stopping = true;
      await done;
    },
  };
}

test('a new SECRET_KEY in two steps, over three copies under load, signs nobody out; nor does the old one’s removal', async () => {
  const { copies, roll } = await startCopies({ SECRET_KEY: OLD });
  const clients = startClients(copies);
  await clients.settle();
  for (const SECRET_KEY of [`${OLD},${NEW}`, `${NEW},${OLD}`]) {
    await roll({ SECRET_KEY });
    await clients.settle();
  }
  await clients.signInAnew(); // SESSION_EXPIRE_DAYS later
  await roll({ SECRET_KEY: NEW });
  await clients.settle();
  await clients.stop();
  expect(clients.failures).toEqual([]);
});

test('a new JWT_PRIVATE_KEY in two steps signs nobody out, and services that keep the public keys for 300 s know every key', async () => {
  const [oldKey, newKey] = [ec(), ec()];
  const { copies, roll } = await startCopies({ SECRET_KEY: OLD, ALGORITHM: 'ES256', JWT_PRIVATE_KEY: oldKey });
  const cache = { keys: [] as JsonWebKey[], unknown: [] as string[], used: new Set<string>() };
  const fill = async () => { cache.keys = ((await (await copies[0]!.get('/.well-known/jwks.json')).json()) as { keys: JsonWebKey[] }).keys; };
  await fill();
  const clients = startClients(copies, (token) => {
    const [header = '', payload = '', signature = ''] = token.split('.');
    const { kid } = JSON.parse(Buffer.from(header, 'base64url').toString()) as { kid: string };
    const jwk = cache.keys.find((key) => key.kid === kid);
    cache.used.add(kid);
    const genuine = jwk && verify('sha256', Buffer.from(`${header}.${payload}`), { key: createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url'));
    if (!genuine) cache.unknown.push(kid);
  });
  await clients.settle();
  await roll({ JWT_PRIVATE_KEY: `${oldKey}\n${newKey}` }); // the services’ copies of the public keys are older than this step
  await clients.settle();
  expect(cache.used.size).toBe(1);
  await fill(); // 300 s later
  expect(cache.keys).toHaveLength(2);
  await roll({ JWT_PRIVATE_KEY: `${newKey}\n${oldKey}` });
  await clients.settle();
  expect(cache.used.size).toBe(2);
  await roll({ JWT_PRIVATE_KEY: newKey }); // ACCESS_TOKEN_EXPIRE_MINUTES later: every client has refreshed since
  await clients.settle();
  await clients.stop();
  expect([clients.failures, cache.unknown]).toEqual([[], []]);
});
