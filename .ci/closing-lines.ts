/** Prints what ran in one plain line, and fails when a suite failed, was skipped, or none ran at all. */
import { readFileSync } from 'node:fs';

type Results = {
  numPassedTests: number; numFailedTests: number; numPendingTests: number; numTodoTests: number;
  testResults: { assertionResults: { status: string; fullName: string }[] }[];
};

const results = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Results;
const skipped = results.numPendingTests + results.numTodoTests;
for (const { status, fullName } of results.testResults.flatMap(({ assertionResults }) => assertionResults)) {
  if (status !== 'passed') console.log(`${status}: ${fullName}`);
}
console.log(`${results.numPassedTests} passed, ${results.numFailedTests} failed, ${skipped} skipped`);
if (results.numFailedTests > 0 || skipped > 0 || results.numPassedTests === 0) process.exitCode = 1;
