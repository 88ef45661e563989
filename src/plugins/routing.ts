import '@fastify/swagger';
import fp from 'fastify-plugin';
import { problems } from '../problems.ts';

/** 404 for unknown paths and 405 with Allow for known ones (RFC 9110 §15.5.6), both under the general rate limit. Registered last. */
export default fp(async (app) => {
  const unknown = () => { throw problems.notFound(); };
  app.setNotFoundHandler(app.config.rateLimit ? { preHandler: app.rateLimit() } : {}, unknown);
  for (const [url, methods] of app.routeMethods) {
    const allow = [...methods].sort().join(', ');
    const others = app.supportedMethods.filter((method) => method !== 'OPTIONS' && !methods.has(method));
    app.route({ method: others, url, schema: { hide: true }, preParsing: async () => { throw problems.methodNotAllowed(allow); }, handler: unknown });
  }
}, { name: 'routing' });

/** Remembers the methods of every path. Registered before the routes. */
export const routeMethods = fp(async (app) => {
  const methodsOf = new Map<string, Set<string>>();
  app.decorate('routeMethods', methodsOf);
  app.addHook('onRoute', ({ url, method }) => {
    if (url.includes('*')) return;
    const methods = methodsOf.get(url) ?? new Set();
    for (const name of [method].flat()) methods.add(name);
    methodsOf.set(url, methods);
  });
}, { name: 'route-methods' });

declare module 'fastify' {
  interface FastifyInstance {
    routeMethods: Map<string, Set<string>>;
  }
}
