import { once } from 'node:events';
import { Server } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import fp from 'fastify-plugin';
import { problems } from '../problems.ts';

/** For so long, at most, open connections may have one more request, after the listener has closed. */
const LINGER_MS = 2_000;
/** By then all that is left are clients that do not read their answers. */
const STALLED_MS = 7_000;

/**
 * Ends the server without a failed request, in this order:
 *
 * 1. Readiness is red for SHUTDOWN_DELAY_SECONDS, and all is served: load balancers that ask for readiness go elsewhere.
 * 2. The listener closes: a proxy that does not ask is refused, and takes the next copy. Answers end their connections only
 *    from now on, because a proxy that has to connect anew may be in the listener's queue when it closes, which cuts it off.
 * 3. Idle connections are closed last, because a request may be on its way on them.
 *
 * What comes later, while the app closes, is refused with 503. Without a delay only that is done.
 */
export default fp(async (app) => {
  let stage: 'serving' | 'not ready' | 'leaving' | 'closing' = 'serving';
  const { shutdownDelayMs } = app.config;
  const cutStalledClients = () => { setTimeout(() => app.server.closeAllConnections(), STALLED_MS).unref(); };

  app.decorate('isStopping', () => stage !== 'serving');
  app.decorate('drain', async () => {
    stage = 'not ready';
    await wait(shutdownDelayMs);
    if (shutdownDelayMs === 0) return;
    stage = 'leaving';
    const closed = once(app.server, 'close');
    Server.prototype.close.call(app.server); // that of HTTP closes idle connections, too
    await Promise.race([closed, wait(LINGER_MS)]);
    app.server.closeIdleConnections();
    cutStalledClients();
    await closed;
  });
  app.addHook('preClose', async () => {
    stage = 'closing';
    cutStalledClients();
  });
  app.addHook('onRequest', (_request, _reply, done) => done(stage === 'closing' ? problems.draining() : undefined));
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (stage === 'leaving' || stage === 'closing') reply.header('connection', 'close');
    done();
  });
}, { name: 'draining', dependencies: ['core'] });

declare module 'fastify' {
  interface FastifyInstance {
    /** Whether the process has been told to end: it still serves, but is not ready for more. */
    isStopping: () => boolean;
    /** Resolves when all connections have ended, or at once without SHUTDOWN_DELAY_SECONDS; `close` comes next. */
    drain: () => Promise<void>;
  }
}
