import fc, { type Arbitrary, type Parameters } from 'fast-check';

const { HISTORIES, SEED, HISTORY_PATH } = process.env;

/** For a test of so many histories, in milliseconds; undefined is the time-out of every other test. */
export const timeout = HISTORIES ? 90_000 + Number(HISTORIES) * 1000 : undefined;

/**
 * How many histories to try, and which. HISTORIES=n tries at least n of them. A failure prints its seed and path: set SEED and
 * HISTORY_PATH to them to see the same history again, already shrunk.
 */
export function runs(histories: number): Parameters<unknown> {
  return {
    numRuns: Math.max(histories, Number(HISTORIES ?? 0)),
    ...(SEED && { seed: Number(SEED) }),
    ...(HISTORY_PATH && { path: HISTORY_PATH }),
  };
}

/** Spans of time that matter to a rule about a grace: a multiple of it, a millisecond beside it, half of it, or any. */
export function spans(graceMs: number): Arbitrary<number> {
  const limits = [1, 2, 3, 4].flatMap((graces) => [-1, 0, 1].map((beside) => Math.max(0, graces * graceMs + beside)));
  return fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(0, 1, Math.floor(graceMs / 2), graceMs - 1, graceMs, graceMs + 1) },
    { weight: 2, arbitrary: fc.constantFrom(...limits) },
    { weight: 2, arbitrary: fc.nat(5 * graceMs) },
  ).map((span) => Math.max(0, span));
}
