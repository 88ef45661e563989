import type { TestProject } from 'vitest/node';
import { startCluster } from './postgres.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** address of a PostgreSQL server, without a database */
    postgres?: string;
  }
}

const LEVELS: Record<string, string> = { 'repeatable-read': 'repeatable read', serializable: 'serializable' };

/** Starts one PostgreSQL server for all tests of the project; one named after an isolation level has it as the default. */
export default async function setup({ name, provide }: TestProject) {
  const level = LEVELS[name];
  const cluster = await startCluster({ settings: level ? [`default_transaction_isolation='${level}'`] : [] });
  provide('postgres', cluster.url('').replace(/\/$/, ''));
  return () => cluster.stop();
}
