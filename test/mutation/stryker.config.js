/** Mutation testing: `npm run mutation`. test/README.md says how to choose files and a sample. */
const work = 'coverage/mutation';

/** @type {import('@stryker-mutator/api/core').PartialStrykerOptions} */
export default {
  mutate: ['src/{core,store,plugins}/**/*.ts', '!src/store/schema/**'],
  testRunner: 'vitest',
  vitest: { configFile: 'test/mutation/vitest.config.ts', related: false },
  plugins: ['@stryker-mutator/vitest-runner', import.meta.resolve('./sample.js')],
  checkers: ['sample'],
  ignorers: ['words'],
  coverageAnalysis: 'perTest',
  ignoreStatic: true, // such a mutant needs every test in a new process
  concurrency: Number(process.env.MUTATION_CONCURRENCY ?? 1),
  timeoutMS: 60_000, // the machine may be busy
  dryRunTimeoutMinutes: 30,
  reporters: ['clear-text', 'json', 'progress-append-only'],
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false, reportScoreTable: true },
  jsonReporter: { fileName: `${work}.json` },
  tempDirName: work,
  ignorePatterns: ['/data', '/coverage'],
  thresholds: { high: 95, low: 95, break: 95 },
};
