import { defineConfig } from 'vitest/config';
import { postgresPrograms } from './test/support/postgres.ts';

/** What each kind of test needs, by its place. test/README.md has the table in words. */
const EVERYTHING = ['test/**/*.test.ts'];
const NEEDS_POSTGRES = ['test/postgres/**'];
const NEEDS_PROGRAMS = ['test/{browser,image,model,programs,proxy,redis}/**/*.test.ts', 'test/documents.test.ts'];
/** Measures times, so that nothing else may run beside it: TIMING=1 runs it alone. */
const TIMING = ['test/**/timing.test.ts'];
/** Starts processes: no mutant is seen there. */
const PROCESSES = [
  'test/faults/!(many-sessions).test.ts', 'test/{cli,cli-users,client}.test.ts', 'test/mail/restarts.test.ts', 'test/store/drafts.test.ts',
];
/** Computes or waits for more than a second or two: the quick run leaves it out. */
const LONG = [
  'test/faults/**', 'test/{decoys,docs,enumeration,histories,hostile-strangers,old-hashes,secrets}.test.ts',
  'test/mail/{delivery,outbox,safety,templates}.test.ts', 'test/{repository,sqlite}/**', 'test/store/plans.test.ts',
];
/** Does not speak to the database, or only to SQLite: a second run on PostgreSQL proves nothing more. */
const ONLY_SQLITE = [
  'test/core/**', 'test/repository/**', 'test/sqlite/**', 'test/store/{sqlite,drafts}.test.ts', 'test/mail/{restarts,templates}.test.ts',
  'test/{cli,client,config,log-output,secrets}.test.ts', 'test/faults/{process,secrecy,shutdown,unread}.test.ts',
];

const project = (name: string, include: string[], exclude: string[] = [], globalSetup: string[] = []) => ({
  test: {
    name, include, exclude, globalSetup,
    maxWorkers: 2, // most of the time goes by in waiting for processes
    isolate: false, // one app and one database per test is isolation enough
    testTimeout: 300_000, // ends what hangs; a slow machine must not fail a test
    hookTimeout: 300_000,
    expect: { poll: { timeout: 30_000, interval: 20 } }, // for conditions, however busy the machine is
  },
});

const withoutPostgres = ['test/postgres/missing.test.ts'];
const onPostgres = () => {
  if (postgresPrograms() === null) return project('postgres', withoutPostgres);
  const others = [...withoutPostgres, ...NEEDS_PROGRAMS, ...TIMING, ...ONLY_SQLITE];
  return project('postgres', EVERYTHING, others, ['test/support/postgres-project.ts']);
};

const notOnSqlite = [...NEEDS_POSTGRES, ...NEEDS_PROGRAMS, ...TIMING];
const sqlite = project('sqlite', EVERYTHING, notOnSqlite);
const quick = project('sqlite', EVERYTHING, [...notOnSqlite, ...PROCESSES, ...LONG]);
/** What mutants are tested with. */
export const inProcess = project('sqlite', EVERYTHING, [...notOnSqlite, ...PROCESSES]);

/** What writes in transactions, or races. No guarantee may depend on the isolation level, so it runs at the stricter ones, too. */
const TRANSACTIONS = [
  'test/{accounts,sessions,logout,passwords,password-resets,email-verifications,first-verifications,profiles,throttle}.test.ts',
  'test/store/{store,throttles}.test.ts', 'test/faults/{races,resets}.test.ts', 'test/mail/outbox.test.ts',
];
const atStricterLevels = () => (postgresPrograms() === null ? [] : ['repeatable-read', 'serializable'])
  .map((level) => project(level, TRANSACTIONS, [], ['test/support/postgres-project.ts']));

export default defineConfig(({ mode }) => ({
  test: {
    projects: process.env.TIMING
      ? [project('timing', TIMING)]
      : [
        mode === 'quick' ? quick : sqlite,
        project('programs', NEEDS_PROGRAMS),
        onPostgres(),
        ...atStricterLevels(),
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
}));
