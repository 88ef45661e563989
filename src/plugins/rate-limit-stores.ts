import { createRequire } from 'node:module';
import type { FastifyRateLimitStore as Store } from '@fastify/rate-limit';
import type { Redis } from 'ioredis';
import type { RedisLink } from './redis.ts';

type Answer = Parameters<Store['incr']>[1];
type Count = NonNullable<Parameters<Answer>[1]>;

const require = createRequire(import.meta.url); // the package has no types for its own stores
const LocalStore = require('@fastify/rate-limit/store/LocalStore.js') as new (continueExceeding: boolean, exponentialBackoff: boolean, cache: number) => Store;
const RedisStore = require('@fastify/rate-limit/store/RedisStore.js') as new (continueExceeding: boolean, exponentialBackoff: boolean, redis: Redis, prefix: string) => Store;

/** Before each key; after it come the route, if it has a limit of its own, and the address, nothing else. */
const PREFIX = 'keyturn:limit:';
const WINDOW_MS = 1000;

/** Counts on a key of no address, as requests are counted: what would fail there fails here. */
export function probeLimits(client: Redis, answer: (error: Error | null) => void): void {
  new RedisStore(false, false, client, PREFIX).incr('probe', answer, WINDOW_MS, 1);
}

/**
 * The store for @fastify/rate-limit that all copies of the server share. Each request is counted here as well, and that
 * count is the one that holds while Redis is away: losing Redis gives nobody a fresh start. It never fails.
 */
export function sharedStore(link: RedisLink, cache: number, onFallback: () => void): new () => Store {
  class SharedStore implements Store {
    readonly #shared: Store;
    readonly #local: Store;

    constructor(shared: Store, local: Store) {
      this.#shared = shared;
      this.#local = local;
    }

    incr(key: string, answer: Answer, timeWindow: number, max: number): void {
      let local: Count | undefined;
      this.#local.incr(key, (_error, count) => { local = count && { ...count }; }, timeWindow, max);
      link.ask<Count>((answered) => this.#shared.incr(key, answered, timeWindow, max), (shared) => {
        if (!shared) onFallback();
        answer(null, shared ?? local);
      });
    }

    child(route: Parameters<Store['child']>[0]): Store {
      return new SharedStore(this.#shared.child(route), this.#local.child(route));
    }
  }
  return class extends SharedStore {
    constructor() {
      super(new RedisStore(false, false, link.client, PREFIX), new LocalStore(false, false, cache));
    }
  };
}
