import fp from 'fastify-plugin';
import { problems } from '../problems.ts';

/**
 * From the first moment of closing, new requests on open connections are refused; those in flight are answered, and
 * their connections closed with the answer, so that none keeps the process waiting.
 */
export default fp(async (app) => {
  let draining = false;
  app.addHook('preClose', async () => { draining = true; });
  app.addHook('onRequest', (_request, _reply, done) => done(draining ? problems.draining() : undefined));
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (draining) reply.header('connection', 'close');
    done();
  });
}, { name: 'draining' });
