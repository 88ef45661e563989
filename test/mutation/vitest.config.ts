import { defineConfig } from 'vitest/config';
import { inProcess } from '../../vitest.config.ts';

export default defineConfig({ test: inProcess.test });
