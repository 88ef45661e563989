import fp from 'fastify-plugin';
import { problems } from '../problems.ts';

/**
 * From the first moment of closing, new requests on open connections are refused; those in flight are answered, and
 * their connections closed with the answer, so that none keeps the process waiting.
 */
export default fp(async (app) => {
  let draining = false;
  app.addHook('preClose', async () => { draining = true; });
  app.addHook('onRequest', async () => { if (draining) throw problems.draining(); });
  app.addHook('onSend', async (_request, reply) => { if (draining) reply.header('connection', 'close'); });
}, { name: 'draining' });
