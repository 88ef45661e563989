/**
 * Prints what ran in one plain line: `N passed, N failed, N skipped`. Every argument is a file of Vitest's JSON results.
 * It fails when a test failed or was skipped, when a file failed to load, and when a run has no results or no tests.
 */
import { readFileSync } from 'node:fs';

type Results = {
  success: boolean; numPassedTests: number; numFailedTests: number; numPendingTests: number; numTodoTests: number;
  testResults: { name: string; status: string; message: string; assertionResults: { status: string; fullName: string }[] }[];
};

const runs = process.argv.slice(2).map((file) => JSON.parse(readFileSync(file, 'utf8')) as Results);
for (const { name, status, message, assertionResults } of runs.flatMap(({ testResults }) => testResults)) {
  if (status === 'failed' && assertionResults.length === 0) console.log(`failed: ${name}: ${message}`);
  for (const test of assertionResults) if (test.status !== 'passed') console.log(`${test.status}: ${test.fullName}`);
}

const sum = (count: (run: Results) => number) => runs.reduce((total, run) => total + count(run), 0);
const skipped = sum(({ numPendingTests, numTodoTests }) => numPendingTests + numTodoTests);
console.log(`${sum((run) => run.numPassedTests)} passed, ${sum((run) => run.numFailedTests)} failed, ${skipped} skipped`);
if (runs.length === 0 || skipped > 0 || runs.some((run) => !run.success || run.numPassedTests === 0)) process.exitCode = 1;
