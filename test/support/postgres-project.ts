import type { TestProject } from 'vitest/node';
import { startCluster } from './postgres.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** address of a PostgreSQL server, without a database */
    postgres?: string;
  }
}

/** Starts one PostgreSQL server for all tests of the project. */
export default async function setup({ provide }: TestProject) {
  const cluster = await startCluster();
  provide('postgres', cluster.url('').replace(/\/$/, ''));
  return () => cluster.stop();
}
