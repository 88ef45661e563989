import { defineConfig } from 'vitest/config';
import { quick } from '../../vitest.config.ts';

/** The quick tests without those that start processes: a child process never sees a mutant. */
export default defineConfig({
  test: { ...quick.test, exclude: [...quick.test.exclude, 'test/log-output.test.ts', 'test/store/sqlite.test.ts'] },
});
