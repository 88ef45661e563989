/**
 * Preloaded with `node --import`, in JavaScript, before anything has to be compiled: keeps compiled code and TypeScript without
 * its types beside the packages, where none but their owner can write. Starts take a third less time, and less memory.
 */
import { enableCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';

enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/keyturn', import.meta.url)));
