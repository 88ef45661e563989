import { test } from 'vitest';

test.skip('everything on PostgreSQL (skipped: there is no PostgreSQL server program; on Debian: apt-get install postgresql)', () => undefined);
