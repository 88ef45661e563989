import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import { unlimited } from '../plugins/rate-limits.ts';
import { problems } from '../problems.ts';
import { problemAnswers } from '../schemas.ts';

const Ok = Type.Object({ status: Type.Literal('ok') }, { additionalProperties: false });
const Jwks = Type.Object({ keys: Type.Array(Type.Record(Type.String(), Type.String())) }, { additionalProperties: false });

/** Health, for whatever watches the process, and the public keys, for services that verify access tokens themselves. */
const serverRoutes: FastifyPluginAsyncTypebox = async (app) => {
  const ok = { status: 'ok' } as const;
  const schema = (summary: string) => ({ tags: ['server'], summary, response: { 200: Ok, ...problemAnswers() } });
  const ready = async () => {
    await app.store.ping().catch(() => { throw problems.databaseAway(); });
    return ok;
  };

  app.get('/health', { config: unlimited, schema: schema('Whether the server can serve') }, ready);
  app.get('/health/ready', { config: unlimited, schema: schema('Whether the server can serve: the database answers, and it is not shutting down') }, ready);
  app.get('/health/live', { config: unlimited, schema: schema('Whether the process answers') }, async () => ok);

  app.get('/.well-known/jwks.json', {
    schema: { tags: ['server'], summary: 'Public keys of the access tokens (RFC 7517); none under HS256', response: { 200: Jwks, ...problemAnswers() } },
  }, async (_request, reply) => {
    reply.header('cache-control', 'public, max-age=300');
    return { keys: app.config.secrets.signingKeys.flatMap(({ jwk }) => (jwk ? [jwk as Record<string, string>] : [])) };
  });
};
export default serverRoutes;
