import { type Measured, median } from '../load.ts';

export type Options = { rounds: number; seconds: number; users: number; folder: string };
/** One line of the table of results. */
export type Row = { work: string; result: string; ratio: string; bar: string; met: boolean | null };

/** Runs every measurement once in each round, one after another, so that all of them see the same noise. */
export async function interleave<Name extends string, Result>(rounds: number, measurements: Record<Name, () => Promise<Result>>): Promise<Record<Name, Result[]>> {
  const names = Object.keys(measurements) as Name[];
  const results = Object.fromEntries(names.map((name) => [name, [] as Result[]])) as unknown as Record<Name, Result[]>;
  for (let round = 0; round < rounds; round += 1) {
    for (const name of names) results[name].push(await measurements[name]());
  }
  return results;
}

/** The ratio of each round, for the noise of one round is in both. */
export function ratios<Result>(over: Result[], under: Result[], value: (result: Result) => number): number[] {
  return over.map((result, round) => value(result) / value(under[round] as Result));
}

/** `median (lowest to highest) unit` */
export function spread(values: number[], unit = '', digits = 0): string {
  const text = (value: number) => value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${text(median(values))} (${text(Math.min(...values))} to ${text(Math.max(...values))})${unit && ` ${unit}`}`;
}

/** Requests a second, and CPU time for each. */
export function rateAndCpu(results: Measured[]): string {
  return `${spread(results.map(({ perSecond }) => perSecond))}/s, ${spread(results.map(({ cpuMicros }) => cpuMicros), 'µs CPU')}`;
}

export function times(values: number[]): string {
  return `× ${spread(values, '', 2)}`;
}
