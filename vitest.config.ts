import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    isolate: false, // one app and one database per test is isolation enough
    testTimeout: 30_000,
    hookTimeout: 30_000,
    reporters: ['default'],
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      exclude: ['src/store/schema/**'], // declarations, whose inner functions only drizzle-kit calls
      reporter: ['text', 'json-summary'],
      thresholds: { 'src/core/**': { lines: 100 }, 'src/store/**': { lines: 100 } },
    },
  },
});
