import argon2 from 'argon2';
import { lowerHashThreads } from './hash-threads.ts';

/** Memory in KiB, passes and lanes of one hash (RFC 9106). */
export type Cost = { memoryCost: number; timeCost: number; parallelism: number };
export type Argon2 = {
  name: string;
  /** argon2id, in its standard notation, with a salt of its own */
  hash(password: string | Buffer, cost: Cost): Promise<string>;
  /** rejects for a hash that cannot be read */
  verify(hash: string, password: string): Promise<boolean>;
};

/** "Keyturn" at 256 KiB and 2 passes, made by the reference implementation. */
const KNOWN = { password: 'Keyturn', hash: '$argon2id$v=19$m=256,p=1,t=2$YV3c4evqoLNsr1khP9edpg$mwLCL/mgVOlP40Q5lD8wjGfuGtRKFTN3O5cN878UhSY' };
const TRIAL: Cost = { memoryCost: 512, timeCost: 2, parallelism: 1 };
const TRIALS = 5;

/** The package argon2, which holds the reference implementation. */
export const reference: Argon2 = {
  name: 'argon2',
  hash: (password, cost) => argon2.hash(password, { type: argon2.argon2id, ...cost }),
  verify: (hash, password) => argon2.verify(hash, password),
};

let chosen: Promise<Argon2> | undefined;

/**
 * The implementation to hash with: @node-rs/argon2 where it is installed and the faster one, as on processors with AVX2,
 * where it does the same work in half the time; else the reference. Found out once, and best before there are requests: beside
 * them the trial says nothing.
 */
export function chooseArgon2(): Promise<Argon2> {
  chosen ??= chooseFaster(loadAccelerator).finally(lowerHashThreads);
  return chosen;
}

/** The accelerator, if it can be loaded, agrees with the reference in every way and is faster; else the reference. */
export async function chooseFaster(load: () => Promise<Argon2>): Promise<Argon2> {
  try {
    const accelerator = await load();
    return (await agrees(accelerator)) && (await timeOf(accelerator)) < (await timeOf(reference)) ? accelerator : reference;
  } catch {
    return reference; // not installed, or not for this platform
  }
}

export async function loadAccelerator(): Promise<Argon2> {
  const { hash, verify } = await import('@node-rs/argon2'); // argon2id is what it makes by default
  return { name: '@node-rs/argon2', hash: (password, cost) => hash(password, cost), verify };
}

/** Each reads what the other has written, tells right from wrong, and knows the known hash. */
async function agrees(accelerator: Argon2): Promise<boolean> {
  const { password, hash } = KNOWN;
  return (await accelerator.verify(hash, password))
    && !(await accelerator.verify(hash, `${password}!`))
    && reference.verify(await accelerator.hash(password, TRIAL), password);
}

/** Milliseconds of the quickest of a few hashes. */
async function timeOf(implementation: Argon2): Promise<number> {
  let quickest = Number.POSITIVE_INFINITY;
  for (let trial = 0; trial < TRIALS; trial += 1) {
    const begun = performance.now();
    await implementation.hash(KNOWN.password, TRIAL);
    quickest = Math.min(quickest, performance.now() - begun);
  }
  return quickest;
}
