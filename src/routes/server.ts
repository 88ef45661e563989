import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { unlimited } from '../plugins/rate-limits.ts';
import { type Problem, problems } from '../problems.ts';
import { answer } from '../schemas.ts';

const SECURITY_TEXT_LIFE_MS = 180 * 24 * 60 * 60_000;
const Ok = Type.Object({ status: Type.Literal('ok') }, { additionalProperties: false });
const exampleKey = { kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA', use: 'sig', kid: 'Q3kq0c1TzXw', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' };
const Jwks = Type.Object({ keys: Type.Array(Type.Record(Type.String(), Type.String())) }, { additionalProperties: false });

/** Health, for whatever watches the process, and the public keys, for services that verify access tokens themselves. */
const serverRoutes: FastifyPluginAsyncTypebox = async (app) => {
  const ok = { status: 'ok' } as const;
  const alive = (operationId: string, summary: string, ...named: Problem[]) =>
    ({ tags: ['server'], operationId, summary, response: { 200: answer(Ok, 'yes', ok) }, problems: named });
  const ready = async () => {
    if (app.isStopping()) throw problems.draining();
    await app.store.ping();
    return ok;
  };

  app.get('/health', { config: unlimited, logLevel: 'warn', schema: alive('getHealth', 'Whether the server can serve', problems.databaseAway()) }, ready);
  app.get('/health/ready', {
    config: unlimited, logLevel: 'warn',
    schema: alive('getReadiness', 'Whether the server can serve: the database answers and can be written, and the server is not shutting down', problems.databaseAway()),
  }, ready);
  app.get('/health/live', { config: unlimited, logLevel: 'warn', schema: alive('getLiveness', 'Whether the process answers') }, async () => ok);

  if (app.config.securityContacts.length > 0) app.get('/.well-known/security.txt', {
    schema: {
      tags: ['server'], operationId: 'getSecurityContact', summary: 'Whom to tell of a vulnerability (RFC 9116)',
      response: { 200: { description: 'the contacts', content: { 'text/plain': { schema: Type.String(), example: 'Contact: mailto:security@example.com\n' } } } },
      problems: [problems.rateLimited(42)],
    },
  }, async (_request, reply) => reply.type('text/plain; charset=utf-8').send(securityText(app)));

  app.get('/.well-known/jwks.json', {
    schema: {
      tags: ['server'], operationId: 'getKeys', summary: 'Public keys of the access tokens (RFC 7517); none under HS256',
      response: { 200: answer(Jwks, 'a JWK Set', { keys: [exampleKey] }) },
      problems: [problems.rateLimited(42)],
    },
  }, async (_request, reply) => {
    reply.header('cache-control', 'public, max-age=300');
    return { keys: app.config.secrets.signingKeys.flatMap(({ jwk }) => (jwk ? [jwk as Record<string, string>] : [])) };
  });
};
export default serverRoutes;

/** Never expires while the server runs, and is never good for a year (RFC 9116 §2.5.5). */
function securityText({ config: { securityContacts, mail: { publicUrl } }, now }: FastifyInstance): string {
  const expires = new Date(now() + SECURITY_TEXT_LIFE_MS).toISOString().replace(/\.\d+/, '');
  const canonical = publicUrl === null ? [] : [`Canonical: ${publicUrl}/.well-known/security.txt`];
  return [...securityContacts.map((contact) => `Contact: ${contact}`), `Expires: ${expires}`, ...canonical, ''].join('\n');
}
