import { defineConfig } from 'drizzle-kit';

const { DIALECT } = process.env;

export default defineConfig(
  DIALECT === 'postgresql'
    ? { dialect: 'postgresql', schema: './src/store/schema/pg.ts', out: './drizzle/pg' }
    : { dialect: 'sqlite', schema: './src/store/schema/sqlite.ts', out: './drizzle/sqlite' },
);
