import helmet from '@fastify/helmet';
import fp from 'fastify-plugin';
import { problems } from '../problems.ts';

/** The headers of an API that is never a page, on every answer (ASVS 3.4); the documentation pages bring their own policy. */
export default fp(async (app) => {
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], baseUri: ["'none'"], formAction: ["'none'"], frameAncestors: ["'none'"] },
    },
    frameguard: { action: 'deny' },
    referrerPolicy: { policy: 'no-referrer' },
    hsts: { maxAge: 31_536_000, includeSubDomains: true },
  });
  app.addHook('onRequest', async (request, reply) => {
    reply.header('cache-control', 'no-store').header('x-request-id', request.id);
    if (countHostLines(request.raw.rawHeaders) > 1) throw problems.badRequest();
  });
}, { name: 'security-headers' });

/** Node.js takes the first of several Host lines; RFC 9112 §3.2 asks for a refusal. */
function countHostLines(rawHeaders: string[]): number {
  let count = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.length === 4 && rawHeaders[at]?.toLowerCase() === 'host') count += 1;
  }
  return count;
}
