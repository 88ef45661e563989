import { availableParallelism } from 'node:os';

/** Two threads more than there are hashes at a time: for names and files, which would wait behind hashes (ASVS 15.4.4). */
export function poolSizeFor(cores: number): number {
  return Math.max(4, cores + 2);
}

// The pool keeps the size that it has at its first use: so server.ts imports this file first. What the operator set holds.
// eslint-disable-next-line no-restricted-syntax -- it is no setting of Keyturn's, and must be set before config.ts is loaded
process.env.UV_THREADPOOL_SIZE ??= String(poolSizeFor(availableParallelism()));
