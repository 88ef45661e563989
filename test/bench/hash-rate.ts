/** How many argon2id hashes (19 MiB, 2 passes, 1 lane) a second an implementation verifies; prints the number. Run: node hash-rate.ts PACKAGE SECONDS */
import { availableParallelism } from 'node:os';
import argon2 from 'argon2';

type Verify = (hash: string, password: string) => Promise<boolean>;

const [name = 'argon2', seconds = '3'] = process.argv.slice(2);
const PASSWORD = 'correct horse battery';
const HASH = await argon2.hash(PASSWORD, { type: argon2.argon2id, memoryCost: 19456, timeCost: 2, parallelism: 1 });
const { verify } = (name === 'argon2' ? argon2 : await import(name)) as { verify: Verify };

const until = performance.now() + Number(seconds) * 1000;
const startedAt = performance.now();
let done = 0;
async function work() {
  while (performance.now() < until) {
    if (!(await verify(HASH, PASSWORD))) throw new Error(`${name} does not verify`);
    done += 1;
  }
}
await Promise.all(Array.from({ length: availableParallelism() }, work));
console.log((done / (performance.now() - startedAt)) * 1000);
