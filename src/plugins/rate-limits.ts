import rateLimit, { type FastifyRateLimitStoreCtor } from '@fastify/rate-limit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { ConfigError } from '../config.ts';
import { type Problem, problems } from '../problems.ts';
import { probeLimits, sharedStore } from './rate-limit-stores.ts';
import type { RedisAddress } from './redis.ts';

const COUNTED_ADDRESSES = 50_000;

/**
 * Requests a minute and address (IPv6: a /64): a limit for each auth route, a softer one for all others together. With
 * REDIS_URL all copies of the server count together; while Redis is away, and without it, each counts for itself.
 */
export default fp(async (app) => {
  const { rateLimit: limits, redis } = app.config;
  if (!limits) return void app.decorate('countRequest', async () => null);
  const refuse = (request: FastifyRequest, ttl: number) => {
    app.metrics.rateLimited.inc();
    request.log.warn({ event: 'rate_limited', ip: request.ip }, 'refused a request over the rate limit');
    return problems.rateLimited(Math.ceil(ttl / 1000));
  };
  await app.register(rateLimit, {
    max: limits.perMinute,
    timeWindow: 60_000,
    cache: COUNTED_ADDRESSES,
    ...(redis ? { store: await shareCounts(app, redis) } : sayLocal(app)),
    enableDraftSpec: true,
    errorResponseBuilder: (request, { ttl }) => refuse(request, ttl),
  });
  const count = app.createRateLimit();
  app.decorate('countRequest', async (request) => {
    const result = await count(request);
    return !result.isAllowed && result.isExceeded ? refuse(request, result.ttl) : null;
  });
}, { name: 'rate-limits', dependencies: ['metrics'] });

/** The `config` of a route that takes a password. */
export const limitCredentials = (app: FastifyInstance) => limit(app.config.rateLimit && app.config.rateLimit.credentialsPerMinute);
/** The `config` of a route that takes a refresh token. */
export const limitTokens = (app: FastifyInstance) => limit(app.config.rateLimit && app.config.rateLimit.tokensPerMinute);
/** The `config` of a route that is asked by machines all the time. */
export const unlimited = { rateLimit: false } as const;

function limit(max: number | false) {
  return max === false ? {} : { rateLimit: { max, cache: COUNTED_ADDRESSES } };
}

function sayLocal({ config, log }: FastifyInstance) {
  const level = config.database.dialect === 'postgres' ? 'warn' : 'info';
  log[level]({ event: 'rate_limits_local' }, 'without REDIS_URL each copy of the server counts for itself');
  return {};
}

/** Returns when it is known whether Redis is there. Only messages of errors are logged, for their fields hold the password. */
async function shareCounts(app: FastifyInstance, address: RedisAddress): Promise<FastifyRateLimitStoreCtor> {
  const { isRefusal, openRedis } = await import('./redis.ts'); // ioredis is loaded only where it is used
  const { metrics, log } = app;
  const link = openRedis(address, {
    probe: probeLimits,
    onUp: (again) => {
      metrics.redisUp.set(1);
      log.info({ event: again ? 'redis_back' : 'rate_limits_shared' }, again ? 'Redis is back: copies count together again' : 'copies that use this Redis count together');
    },
    onDown: (error) => {
      metrics.redisUp.set(0);
      log.warn({ event: 'redis_lost', reason: reasonOf(error) }, 'Redis is away: until it is back, each copy counts for itself');
    },
  });
  app.addHook('onClose', async () => link.close());
  const reason = await link.first;
  if (reason && isRefusal(reason)) {
    link.close();
    throw new ConfigError('REDIS_URL', `Redis refuses it (${reason.message})`);
  }
  return sharedStore(link, COUNTED_ADDRESSES, () => metrics.rateLimitFallbacks.inc());
}

function reasonOf(error: NodeJS.ErrnoException): string {
  return error.message || (error.code ?? error.name);
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Counts a request that no hook sees in the limit of all other routes; the problem, if it is over the limit. */
    countRequest: (request: FastifyRequest) => Promise<Problem | null>;
  }
}
