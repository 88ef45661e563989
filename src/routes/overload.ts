import type { FastifyInstance, preParsingHookHandler } from 'fastify';
import { problems } from '../problems.ts';

/** Hook of routes that hash a password for anybody: while too many hashes wait, requests are refused before any work is done for them. */
export function refuseOverload({ passwords }: FastifyInstance): preParsingHookHandler {
  return (_request, _reply, _payload, done) => done(passwords.hasRoom() ? null : problems.overloaded());
}
