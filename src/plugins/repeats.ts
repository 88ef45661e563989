import fp from 'fastify-plugin';

const SESSIONS_REMEMBERED = 10_000;
/** More than a day of tabs that race. A thief who follows the owner within the grace gets there in hours. */
const MANY = 20;

/**
 * Counts, for each session, how often a superseded refresh token came back within the grace. Two tabs that race look like a
 * thief who follows within the grace, so the number is what tells: see the alarms in the documents. This process counts for
 * itself, and remembers the sessions that were counted last.
 */
export default fp(async (app) => {
  const counts = new Map<string, number>();

  app.decorate('countRepeat', (sessionId: string) => {
    const count = (counts.get(sessionId) ?? 0) + 1;
    counts.delete(sessionId);
    counts.set(sessionId, count);
    if (counts.size > SESSIONS_REMEMBERED) counts.delete(counts.keys().next().value as string);
    app.metrics.refreshToken.repeated.inc();
    if (count === MANY) app.metrics.refreshToken.repeatedOften.inc();
    return count;
  });
}, { name: 'repeats', dependencies: ['metrics'] });

declare module 'fastify' {
  interface FastifyInstance {
    /** Counts a repeat of the session's token; returns how many there were. */
    countRepeat: (sessionId: string) => number;
  }
}
