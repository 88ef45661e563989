import fp from 'fastify-plugin';
import type { LiveSession } from '../core/sessions.ts';

/** One line a request, by its route's pattern: no query, no header and no body is ever logged (ASVS 16.2.5). */
export default fp(async (app) => {
  app.addHook('onResponse', (request, reply, done) => {
    const auth = request.auth as LiveSession | null;
    request.log.info({
      event: 'request',
      method: request.method,
      route: request.routeOptions.url,
      status: reply.statusCode,
      code: request.problemCode ?? undefined,
      ip: request.ip,
      user_id: auth?.user.id,
      session_id: auth?.session.id,
      ms: Math.round(reply.elapsedTime * 10) / 10,
    }, 'request');
    done();
  });
}, { name: 'request-log' });
