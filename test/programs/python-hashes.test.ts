import { expect, test } from 'vitest';
import { proveHashes } from '../support/old-hashes.ts';
import { hasLibraries, makeVectors } from '../support/vectors.ts';

const PACKAGES = 'python3-argon2 python3-bcrypt python3-django python3-passlib python3-werkzeug';
const isThere = hasLibraries();
const reason = isThere ? '' : ` (skipped: they are missing; on Debian: apt-get install ${PACKAGES})`;

test.skipIf(!isThere)(`hashes that the libraries of other systems make now sign in${reason}`, async () => {
  const vectors = makeVectors() ?? [];
  expect(vectors.length).toBeGreaterThan(60);
  await proveHashes(vectors);
});
