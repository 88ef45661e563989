import { defineConfig } from 'vitest/config';
import { postgresPrograms } from './test/support/postgres.ts';

const shared = {
  maxWorkers: 2, // most of the time goes by in waiting for processes
  isolate: false, // one app and one database per test is isolation enough
  testTimeout: 90_000,
  hookTimeout: 30_000,
};

/** What speaks to a database runs on both; the rest once. */
const ON_BOTH = ['test/{accounts,sessions,logout,access-tokens,cookies,problems,rate-limits,logs,http,json-body,origins,docs,documents,metrics,throttle,devices,passwords,old-hashes,cli-users,password-resets,email-verifications,profiles,enumeration,link-pages}.test.ts', 'test/faults/{races,crash,resets}.test.ts', 'test/store/{store,throttles}.test.ts', 'test/mail/{delivery,outbox,safety}.test.ts'];

export default defineConfig({
  test: {
    projects: [
      { test: { ...shared, name: 'sqlite', include: ['test/**/*.test.ts'], exclude: ['test/postgres/**'] } },
      postgresPrograms()
        ? { test: { ...shared, name: 'postgres', include: [...ON_BOTH, 'test/postgres/**/*.test.ts'], exclude: ['test/postgres/missing.test.ts'], globalSetup: 'test/support/postgres-project.ts' } }
        : { test: { ...shared, name: 'postgres', include: ['test/postgres/missing.test.ts'] } },
    ],
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      exclude: [
        'src/store/schema/**', // declarations, whose inner functions only drizzle-kit calls
        'src/{client,demo}/**', // run in Chromium, out of sight of the coverage
      ],
      reporter: ['text', 'json-summary'],
      thresholds: { 'src/core/**': { lines: 100 }, 'src/store/**': { lines: 100 } },
    },
  },
});
