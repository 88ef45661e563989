import { createHmac, type KeyObject } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Core } from './core.ts';
import { decoyLike } from './stored-hashes.ts';

/**
 * How many accounts have a hash of each kind. A kind is a format with its cost, and is written as a decoy: a hash of
 * that kind which no password fits.
 */
export type HashKinds = Map<string, number>;

const PAGE = 500;
/** So many are counted at once; of more, the others follow with a pause after each page. */
const SAMPLE = 10_000;
const PAUSE_MS = 50;
const FRACTION_BYTES = 6;

/**
 * The decoy whose verification costs a name that nobody has what one of the accounts costs, so that the time tells
 * nothing (ASVS 6.3.8). Kinds are chosen in proportion to their numbers, and one name always meets the same kind: each
 * kind draws -ln(u)/count, where u comes from an HMAC of name and kind, and the least draw wins. When a few accounts
 * change their kind, only as many names do.
 */
export function chooseDecoy(kinds: HashKinds, key: KeyObject, name: string): string {
  const draws = kinds.size === 1 ? [...kinds.keys()].map((decoy) => ({ decoy, draw: 0 }))
    : Array.from(kinds, ([decoy, count]) => (
      { decoy, draw: -Math.log(fractionOf(key, `${name}\0${decoy}`)) / count }
    ));
  return draws.reduce((least, each) => (each.draw < least.draw ? each : least)).decoy;
}

/** Between 0 and 1, and neither. */
function fractionOf(key: KeyObject, text: string): number {
  const number = createHmac('sha256', key).update(text).digest().readUIntBE(0, FRACTION_BYTES);
  return (number + 0.5) / 2 ** (8 * FRACTION_BYTES);
}

/**
 * Counts the hashes of all accounts by kind. It yields the count of SAMPLE accounts first, which are a fair sample
 * because ids are random; then the count of all. Between two pages others have their turn, so that a million accounts
 * hold nobody up.
 */
export async function* countHashKinds({ store }: Pick<Core, 'store'>, signal: AbortSignal): AsyncGenerator<HashKinds> {
  const kinds: HashKinds = new Map();
  let after = '';
  for (let counted = PAGE; ; counted += PAGE) {
    const rows = await store.users.listHashes(after, PAGE);
    for (const { passwordHash } of rows) {
      const decoy = decoyLike(passwordHash);
      if (decoy !== null) kinds.set(decoy, (kinds.get(decoy) ?? 0) + 1);
    }
    if (rows.length < PAGE) break;
    after = (rows.at(-1) as { id: string }).id;
    if (counted === SAMPLE) yield new Map(kinds);
    if (counted >= SAMPLE) await pause(PAUSE_MS, undefined, { signal });
  }
  yield kinds;
}
