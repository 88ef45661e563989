import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyReply } from 'fastify';
import fp from 'fastify-plugin';
import { aliasesOf } from '../routes/compat.ts';

const PAGE_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; img-src 'self' data:; font-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'";
const REDOC_POLICY = `${PAGE_POLICY}; worker-src blob:`;
const REDOC_PAGE = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Keyturn API</title></head>
<body style="margin:0"><redoc spec-url="openapi.json" disable-search="true"></redoc><script src="redoc/redoc.js"></script></body>
</html>
`;

const DESCRIPTION = `A self-hosted session server. Errors are \`application/problem+json\` (RFC 9457).

Sign up or in, copy the \`access_token\`, press **Authorize** and paste it. The refresh token travels in an httpOnly cookie;
requests that no browser sent get it in the JSON answer, too.`;

/** The OpenAPI 3.1 document of all routes, registered before them, and the pages that show it, from local packages (ASVS 3.6.1). */
export default fp(async (app) => {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Keyturn', version: '1', description: DESCRIPTION, license: { name: 'MIT', identifier: 'MIT' } },
      servers: [{ url: '/' }],
      tags: [{ name: 'auth' }, { name: 'sessions' }, { name: 'users' }, { name: 'server' }],
      components: {
        securitySchemes: {
          accessToken: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'the access_token of an answer' },
          refreshCookie: { type: 'apiKey', in: 'cookie', name: '__Host-refresh_token', description: 'httpOnly; the browser sends it. `refresh_token` on plain http outside production' },
        },
      },
    },
    transform: ({ schema, url }) => ({ schema: withAliases(schema, app.config.compatRoutes ? aliasesOf(url) : []), url }),
  });
  if (!app.config.docs) return;
  const redoc = readFileSync(createRequire(import.meta.url).resolve('redoc/bundles/redoc.standalone.js'));
  const hidden = { schema: { hide: true } };
  const page = (reply: FastifyReply, policy: string) =>
    reply.header('content-security-policy', policy).header('cross-origin-opener-policy', 'same-origin');

  app.get('/openapi.json', hidden, async () => app.swagger());
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: PAGE_POLICY,
    uiConfig: { persistAuthorization: false, tryItOutEnabled: true, validatorUrl: null },
    theme: { title: 'Keyturn API' },
  });
  app.get('/redoc', hidden, async (_request, reply) => page(reply, REDOC_POLICY).type('text/html; charset=utf-8').send(REDOC_PAGE));
  app.get('/redoc/redoc.js', hidden, async (_request, reply) => page(reply, REDOC_POLICY)
    .header('cache-control', 'public, max-age=86400').type('text/javascript; charset=utf-8').send(redoc));
}, { name: 'docs' });

function withAliases<Schema extends { description?: string }>(schema: Schema | undefined, aliases: string[]): Schema {
  const own = schema ?? ({} as Schema);
  if (aliases.length === 0) return own;
  const also = `Also at ${aliases.map((alias) => `\`${alias}\``).join(', ')}.`;
  return { ...own, description: own.description ? `${own.description}\n\n${also}` : also };
}
