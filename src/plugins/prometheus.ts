import Fastify, { type FastifyInstance } from 'fastify';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { ConfigError } from '../config.ts';
import type { Metrics } from './metrics.ts';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** With the process's own metrics. Labels are bounded: routes are patterns, and no address, user or token is ever in them. */
export function createRegistry(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return registry;
}

export function createMetrics(registry: Registry, withRedis: boolean): Metrics {
  const registers = [registry];
  const counter = (name: string, help: string, labelNames: string[] = []) => {
    const count = new Counter({ name, help, labelNames, registers });
    return { inc: (labels: { outcome?: string } = {}) => count.inc(labels) };
  };
  return {
    refreshToken: {
      repeated: counter('keyturn_refresh_token_repeated_total', 'Superseded refresh tokens presented within the grace, and answered'),
      repeatedOften: counter('keyturn_refresh_token_repeated_often_total', 'Sessions whose superseded refresh tokens came back 20 times within the grace'),
      reused: counter('keyturn_refresh_token_reused_total', 'Superseded refresh tokens presented past the grace; each ended its session'),
    },
    rateLimited: counter('keyturn_rate_limited_total', 'Requests refused by a rate limit'),
    rateLimitFallbacks: counter('keyturn_rate_limit_fallbacks_total', 'Requests counted by this copy alone, for Redis was away'),
    logins: counter('keyturn_logins_total', 'Sign-ins, by their outcome', ['outcome']),
    mails: counter('keyturn_mails_total', 'Attempts to send a mail, by their outcome: sent, failed (and tried again), given_up', ['outcome']),
    redisUp: new Gauge({ name: 'keyturn_redis_up', help: 'Whether Redis counts for all copies', registers: withRedis ? registers : [] }),
  };
}

export function countRequests(app: FastifyInstance, registry: Registry): void {
  const registers = [registry];
  const requests = new Counter({ name: 'keyturn_http_requests_total', help: 'Requests answered', labelNames: ['method', 'route', 'status'], registers });
  const seconds = new Histogram({ name: 'keyturn_http_request_duration_seconds', help: 'Time to answer', labelNames: ['method', 'route'], buckets: SECONDS, registers });
  app.addHook('onResponse', async (request, reply) => {
    const at = { method: request.method, route: request.routeOptions.url ?? 'none' };
    requests.inc({ ...at, status: reply.statusCode });
    seconds.observe(at, reply.elapsedTime / 1000);
  });
}

/** Listens while the app does. @throws ConfigError from the app's `ready`, where the port is taken */
export function serveMetrics(app: FastifyInstance, registry: Registry): void {
  const { metricsPort: port, metricsHost: host } = app.config;
  const server = Fastify({ forceCloseConnections: true, exposeHeadRoutes: false });
  server.get('/metrics', async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()));
  app.addHook('onReady', async () => {
    const address = await server.listen({ host, port }).catch((error: unknown) => {
      throw new ConfigError('METRICS_PORT', `cannot be listened on (${(error as NodeJS.ErrnoException).code})`);
    });
    app.log.info({ event: 'metrics_started', metrics: `${address}/metrics` }, 'serving metrics');
  });
  app.addHook('onClose', async () => server.close());
}
