import { Redis, ReplyError } from 'ioredis';

/** Past it, an answer is not waited for. */
const DEADLINE_MS = 100;
const HANDSHAKE_MS = 1000;
const START_MS = 1500;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1500;

export type RedisAddress = { host: string; port: number; db: number; tls: boolean; ca?: string | undefined; username: string; password: string };
export type RedisLink = ReturnType<typeof openRedis>;
type Answer<T> = (error: Error | null, result?: T | null) => void;
type Watcher = {
  /** a command like those that will be asked; Redis counts as up once it has answered it */
  probe: (client: Redis, answer: Answer<unknown>) => void;
  onUp: (again: boolean) => void;
  onDown: (reason: Error) => void;
};

/**
 * A connection to Redis, or what speaks its protocol, for which nobody waits. What is asked is answered within 100 ms, or
 * with null. From the first failure on (connection lost, no answer in time, a refusal) all is answered with null at once,
 * while the connection is made anew in the background, with pauses of up to 1.5 s, until Redis answers the probe.
 * `onDown` and `onUp` are told of each change once. The connection keeps no process alive.
 */
export function openRedis(address: RedisAddress, { probe, onUp, onDown }: Watcher) {
  let state: 'starting' | 'up' | 'down' | 'closed' = 'starting';
  let pause = FIRST_PAUSE_MS;
  let reason: Error | undefined;
  let retry: NodeJS.Timeout | undefined;
  const first = Promise.withResolvers<Error | null>();
  const client = createClient(address);
  const start = setTimeout(() => down(new Error('no answer at start')), START_MS);

  function up() {
    if (state === 'closed') return;
    const again = state === 'down';
    state = 'up';
    pause = FIRST_PAUSE_MS;
    settleFirst(null);
    onUp(again);
  }

  function down(error: Error) {
    if (state === 'down' || state === 'closed') return;
    state = 'down';
    settleFirst(error);
    onDown(error);
  }

  function settleFirst(outcome: Error | null) {
    clearTimeout(start);
    first.resolve(outcome);
  }

  function giveUp(error: Error) {
    reason ??= error;
    if (client.status === 'ready') client.disconnect(true); // ends in `end`, below
  }

  function connect() {
    reason = undefined;
    client.connect().catch(() => undefined); // its failures come as `error` and `end`
  }

  client.on('error', (error: Error) => { reason = error; });
  client.on('connect', () => client.stream.unref());
  client.on('ready', () => {
    if (reason) return giveUp(reason); // a database number that Redis does not have is no reason for ioredis to stop
    within<unknown>((answer) => probe(client, answer), (error) => (error ? giveUp(error) : up()));
  });
  client.on('end', () => {
    down(reason ?? new Error('the connection was closed'));
    if (state === 'closed') return;
    retry = setTimeout(connect, pause).unref();
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  });
  connect();

  return {
    client,
    /** null once Redis is there, or else why it is not; known soon after the start */
    first: first.promise,
    ask<T>(send: (answer: Answer<T>) => void, settle: (result: T | null) => void): void {
      if (state !== 'up') return settle(null);
      within<T>(send, (error, result) => {
        if (error && state === 'up') {
          down(error);
          giveUp(error);
        }
        settle(result ?? null);
      });
    },
    close() {
      state = 'closed';
      settleFirst(null);
      clearTimeout(retry);
      client.disconnect();
    },
  };
}

/** Whether Redis is there and will not have us: a mistake in the configuration, not an outage. */
export function isRefusal(error: Error): boolean {
  return error instanceof ReplyError && /^(WRONGPASS|NOAUTH|NOPERM|ERR)\b/.test(error.message);
}

/** Reconnects are ours, not the library's, for its timers would keep the process alive. */
function createClient({ tls, ca, username, password, ...where }: RedisAddress): Redis {
  return new Redis({
    ...where,
    ...(username && { username }),
    ...(password && { password }),
    ...(tls && { tls: ca ? { ca } : {} }),
    lazyConnect: true,
    retryStrategy: () => null,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: HANDSHAKE_MS,
    commandTimeout: HANDSHAKE_MS,
    maxLoadingRetryTime: HANDSHAKE_MS,
    disconnectTimeout: DEADLINE_MS,
  });
}

/** The turn of the event loop after the timer is waited for, too: an answer that came while this process was busy still counts. */
function within<T>(send: (answer: Answer<T>) => void, done: Answer<T>): void {
  let open = true;
  const timer = setTimeout(() => setImmediate(finish, new Error(`no answer in ${DEADLINE_MS} ms`)), DEADLINE_MS);
  function finish(error: Error | null, result?: T | null) {
    if (!open) return;
    open = false;
    clearTimeout(timer);
    done(error, result);
  }
  send(finish);
}
