import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { problems } from '../problems.ts';

const COUNTED_ADDRESSES = 50_000;

/** Requests a minute and address (IPv6: a /64): a limit for each auth route, a softer one for all others together. */
export default fp(async (app) => {
  const { rateLimit: limits } = app.config;
  if (!limits) return;
  await app.register(rateLimit, {
    max: limits.perMinute,
    timeWindow: 60_000,
    cache: COUNTED_ADDRESSES,
    enableDraftSpec: true,
    errorResponseBuilder: (_request, { ttl }) => problems.rateLimited(Math.ceil(ttl / 1000)),
    onExceeded: (request) => request.log.warn({ event: 'rate_limited', ip: request.ip }, 'refused a request over the rate limit'),
  });
}, { name: 'rate-limits' });

/** The `config` of a route that takes a password. */
export const limitCredentials = (app: FastifyInstance) => limit(app.config.rateLimit && app.config.rateLimit.credentialsPerMinute);
/** The `config` of a route that takes a refresh token. */
export const limitTokens = (app: FastifyInstance) => limit(app.config.rateLimit && app.config.rateLimit.tokensPerMinute);
/** The `config` of a route that is asked by machines all the time. */
export const unlimited = { rateLimit: false } as const;

function limit(max: number | false) {
  return max === false ? {} : { rateLimit: { max, cache: COUNTED_ADDRESSES } };
}
