import fp from 'fastify-plugin';

const LOOK_EVERY_MS = 1000;
const MEASURE_EVERY_MS = 60_000;
const MEASUREMENTS = 3;
/** A measurement is wrong by half its round trip at most. */
const LONGEST_ROUND_TRIP_MS = 2000;
const WORTH_TELLING_MS = 1000;

/** What is added to this machine's clock. */
export type Correction = { offsetMs: number };

/**
 * Keeps all copies of the server on one clock, that of PostgreSQL: measures how far this machine's clock is off, at the start,
 * every minute, and when this machine's clock was set. On SQLite there is one copy, and nothing to do.
 */
export default fp<{ correction: Correction }>(async (app, { correction }) => {
  const { readClock } = app.store;
  if (!readClock) return;
  let measuredAt = 0;
  let machine = 0;

  async function measure(ask: () => Promise<number>) {
    [measuredAt, machine] = [performance.now(), sinceStart()];
    const measured = [];
    for (let time = 0; time < MEASUREMENTS; time += 1) measured.push(await measureOnce(ask));
    const [best] = measured.sort((a, b) => a.roundTripMs - b.roundTripMs);
    if (!best || !(best.roundTripMs <= LONGEST_ROUND_TRIP_MS)) return;
    const changedMs = Math.abs(best.offsetMs - correction.offsetMs);
    correction.offsetMs = best.offsetMs;
    if (changedMs >= WORTH_TELLING_MS) app.log.warn({ event: 'clock_corrected', offset_ms: best.offsetMs }, "this machine's clock is off the database's, which counts");
  }
  const look = () => {
    const isSet = Math.abs(sinceStart() - machine) >= WORTH_TELLING_MS / 2;
    if (isSet || performance.now() - measuredAt >= MEASURE_EVERY_MS) void measure(readClock).catch(() => undefined); // the last correction holds
  };
  await measure(readClock);
  const timer = setInterval(look, LOOK_EVERY_MS).unref();
  app.addHook('onClose', async () => { clearInterval(timer); });
}, { name: 'database-clock', dependencies: ['store'] });

/** Changes only when the machine's clock is set. */
function sinceStart(): number {
  return Date.now() - performance.now();
}

async function measureOnce(ask: () => Promise<number>) {
  const [sentAt, started] = [Date.now(), performance.now()];
  const told = await ask();
  const roundTripMs = performance.now() - started;
  return { roundTripMs, offsetMs: Math.round(told - sentAt - roundTripMs / 2) };
}
