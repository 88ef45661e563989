import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startApp, temporaryFolder } from '../support/app.ts';
import { cliHere } from '../support/cli.ts';
import { VECTORS } from '../support/vectors.ts';

const hasJq = spawnSync('jq', ['--version']).status === 0;
const reason = hasJq ? '' : ' (skipped: there is no jq)';

test.skipIf(!hasJq)(`an export of Firebase is imported after the command of the help page${reason}`, async () => {
  const DATA_DIR = temporaryFolder();
  await (await startApp({ DATA_DIR })).app.close(); // makes the database
  const { key = '', separator = '', salt, digest } = splitFirebase();
  const { stdout: page } = await cliHere(['help', 'users', 'import'], {});
  const [, program = ''] = /jq -c [^']*'([^']+)'/.exec(page) ?? [];
  const user = { localId: 'x', email: 'user1@example.com', emailVerified: true, createdAt: '1486324334000', displayName: 'User' };
  const input = JSON.stringify({ users: [{ ...user, passwordHash: digest, salt }, { localId: 'y', phoneNumber: '+1' }] });
  const options = ['-c', '--arg', 'key', key, '--arg', 'sep', separator, '--arg', 'n', '14', '--arg', 'r', '8'];
  const { stdout, stderr } = spawnSync('jq', [...options, program], { input, encoding: 'utf8' });
  expect(stderr).toBe('');
  const file = join(DATA_DIR, 'users.jsonl');
  writeFileSync(file, stdout);
  const imported = await cliHere(['users', 'import', file, '--json'], { DATA_DIR });
  expect(JSON.parse(imported.stdout)).toMatchObject({ imported: 1, refused: 0 });
  const { post } = await startApp({ DATA_DIR });
  const answer = await post('/auth/login', { email: 'user1@example.com', password: 'user1password' });
  expect(answer.json()).toMatchObject({ user: { email_verified: true, created_at: '2017-02-05T19:52:14.000Z' } });
});

/** The parts of the hash that Firebase publishes as an example. */
function splitFirebase() {
  const { hash } = VECTORS.find(({ library }) => library.startsWith('github.com/firebase'))!;
  return /ss=(?<separator>[^,]*),sk=(?<key>[^$]*)\$(?<salt>[^$]*)\$(?<digest>.*)$/.exec(hash)?.groups ?? {};
}
