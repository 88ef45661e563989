import fp from 'fastify-plugin';
import { countHashKinds } from '../core/decoys.ts';

const COUNT_EVERY_MS = 60 * 60_000;

/**
 * Tells `passwords` which kinds of hash the accounts have, at start and every hour, so that a name that nobody has
 * costs what an account costs (ASVS 6.3.8). A count that fails leaves the last one in force.
 */
export default fp(async (app) => {
  const closing = new AbortController();
  const logFailure = (error: unknown) => {
    if (closing.signal.aborted) return;
    app.log.error({ event: 'hash_count_failed', err: error }, 'could not count the kinds of password hashes');
  };

  /** The first sample counts at once; the rest follows behind. */
  async function countAtStart() {
    const counts = countHashKinds(app, closing.signal);
    const first = await counts.next();
    if (!first.done) app.passwords.learnKinds(first.value);
    void learnLast(counts).catch(logFailure);
  }

  /** A sample is coarser than the count before, so that only the count of all takes its place. */
  async function learnLast(counts: ReturnType<typeof countHashKinds>) {
    let last;
    for await (const kinds of counts) last = kinds;
    if (last) app.passwords.learnKinds(last);
  }

  const countAgain = () => void learnLast(countHashKinds(app, closing.signal)).catch(logFailure);
  const timer = setInterval(countAgain, COUNT_EVERY_MS);
  timer.unref();
  app.addHook('onReady', () => countAtStart().catch(logFailure));
  app.addHook('onClose', () => {
    clearInterval(timer);
    closing.abort();
  });
}, { name: 'decoys', dependencies: ['core', 'store'] });
