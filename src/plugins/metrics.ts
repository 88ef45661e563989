import fp from 'fastify-plugin';

/** What can be counted, if anybody counts. */
export type Metrics = {
  refreshToken: Record<'repeated' | 'repeatedOften' | 'reused', Count>;
  rateLimited: Count;
  rateLimitFallbacks: Count;
  logins: Count;
  mails: Count;
  redisUp: { set: (value: 0 | 1) => void };
};
type Count = { inc: (labels?: { outcome: string }) => void };

const none = { inc: () => undefined, set: () => undefined };
const NONE: Metrics = {
  refreshToken: { repeated: none, repeatedOften: none, reused: none },
  rateLimited: none, rateLimitFallbacks: none, logins: none, mails: none, redisUp: none,
};

/** With METRICS_PORT counts what happens and serves it to Prometheus, on that port and nowhere else (ASVS 13.4.5). */
export default fp(async (app) => {
  const { metricsPort, redis } = app.config;
  if (metricsPort === 0) return void app.decorate('metrics', NONE);
  const { countRequests, createMetrics, createRegistry, serveMetrics } = await import('./prometheus.ts'); // prom-client is loaded only where it is used
  const registry = createRegistry();
  app.decorate('metrics', createMetrics(registry, redis !== null));
  countRequests(app, registry);
  serveMetrics(app, registry);
}, { name: 'metrics', dependencies: ['core'] });

declare module 'fastify' {
  interface FastifyInstance {
    metrics: Metrics;
  }
}
