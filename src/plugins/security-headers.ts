import type { IncomingMessage } from 'node:http';
import helmet, { type FastifyHelmetOptions } from '@fastify/helmet';
import Fastify from 'fastify';
import fp from 'fastify-plugin';
import { problems } from '../problems.ts';

const OPTIONS: FastifyHelmetOptions = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: { defaultSrc: ["'none'"], baseUri: ["'none'"], formAction: ["'none'"], frameAncestors: ["'none'"] },
  },
  frameguard: { action: 'deny' },
  referrerPolicy: { policy: 'no-referrer' },
  hsts: { maxAge: 31_536_000, includeSubDomains: true },
};

/**
 * The headers of an API that is never a page, on every answer (ASVS 3.4); the documentation pages bring their own policy.
 * helmet works them out anew for every request, which costs more than the rest of the answer: here it does so once.
 */
export default fp(async (app) => {
  const headers = { ...(await headersOfHelmet()), 'cache-control': 'no-store' };
  app.addHook('onRequest', (request, reply, done) => {
    reply.headers(headers).header('x-request-id', request.id);
    done(isUnambiguous(request.raw) ? undefined : problems.badRequest());
  });
}, { name: 'security-headers' });

async function headersOfHelmet(): Promise<Record<string, string>> {
  const app = Fastify();
  await app.register(helmet, OPTIONS);
  app.get('/', async () => null);
  const { headers } = await app.inject('/');
  await app.close();
  const ofHttp = new Set(['content-length', 'content-type', 'date', 'connection']);
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !ofHttp.has(name))) as Record<string, string>;
}

/** HTTP/1.1 has one Host line (RFC 9112 §3.2), HTTP/1.0 at most one. Node.js answers several, and HTTP/0.9 and 2.0 lines, too. */
function isUnambiguous({ httpVersion, rawHeaders }: IncomingMessage): boolean {
  let hosts = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.length === 4 && rawHeaders[at]?.toLowerCase() === 'host') hosts += 1;
  }
  return httpVersion === '1.1' ? hosts === 1 : httpVersion === '1.0' && hosts <= 1;
}
