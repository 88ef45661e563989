import cors from '@fastify/cors';
import type { FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { problems } from '../problems.ts';

const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * CORS with credentials for ALLOWED_ORIGINS, nothing for others; and no unsafe request from any other origin, by
 * Fetch Metadata, or by Origin where a browser does not send it (OWASP CSRF Prevention; ASVS 3.5.1). A sibling
 * sub-domain is another origin. A request with neither header comes from no browser, and passes.
 */
export default fp(async (app) => {
  const allowed = new Set(app.config.allowedOrigins);
  await app.register(cors, {
    origin: (origin, done) => done(null, origin !== undefined && allowed.has(origin) ? origin : false),
    credentials: true,
    strictPreflight: false,
    preflightContinue: true, // to the rate limit
    methods: ['GET', 'POST', 'PATCH', 'DELETE'],
    allowedHeaders: ['authorization', 'content-type'],
    exposedHeaders: ['retry-after', 'ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset', 'x-request-id'],
    maxAge: 600,
  });
  // after the rate limit, which is an onRequest hook of each route; that of unknown paths is later, and there nothing changes
  app.addHook('preParsing', (request, reply, _payload, done) => {
    if (request.method === 'OPTIONS') reply.code(204);
    if (SAFE_METHODS.has(request.method) || request.is404 || !isForeign(request) || allowed.has(request.headers.origin ?? '')) return done();
    request.log.warn({ event: 'cross_site_refused', origin: request.headers.origin, ip: request.ip }, 'refused a request from another origin');
    done(problems.crossSite());
  });

  function isForeign({ headers, host, protocol }: FastifyRequest): boolean {
    const site = headers['sec-fetch-site'];
    if (site !== undefined) return site !== 'same-origin' && site !== 'none';
    if (headers.origin === undefined) return false;
    const seenAsHttps = app.config.production || protocol === 'https';
    return headers.origin !== `${protocol}://${host}` && !(seenAsHttps && headers.origin === `https://${host}`);
  }
}, { name: 'origins', dependencies: ['rate-limits'] });

/** Whether a browser sent this request: each of them sends one of these headers on a POST, and no script can remove it. */
export function isFromBrowser({ headers }: FastifyRequest): boolean {
  return headers.origin !== undefined || headers['sec-fetch-site'] !== undefined;
}
