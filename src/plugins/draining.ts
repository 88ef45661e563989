import fp from 'fastify-plugin';
import { problems } from '../problems.ts';

/** From the first moment of closing, new requests on open connections are refused; those in flight are answered. */
export default fp(async (app) => {
  let draining = false;
  app.addHook('preClose', async () => { draining = true; });
  app.addHook('onRequest', async () => { if (draining) throw problems.draining(); });
}, { name: 'draining' });
