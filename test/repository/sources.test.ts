import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ESLint } from 'eslint';
import { expect, test } from 'vitest';
import { EnvironmentSchema } from '../../src/environment.ts';
import { TABLES } from '../../src/store/tables.ts';
import { readDocument } from '../support/openapi.ts';

const ROOT = join(import.meta.dirname, '../..');
const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) => /\.(ts|js)$/.test(name)).sort()
  .map((name) => [`src/${name}`, readFileSync(join(ROOT, 'src', name), 'utf8')] as const);
const holding = (pattern: RegExp) => sources.filter(([, text]) => pattern.test(text)).map(([name]) => name);

test('the patterns below find what they look for', () => {
  expect(sources.length).toBeGreaterThan(80);
  expect(holding(/from 'node:fs'/)).toContain('src/secrets.ts');
});

test('the server starts no other program (ASVS 1.2.5)', () => {
  expect(holding(/child_process|node:cluster|process\.binding|\bexecve\b/)).toEqual([]);
});

test('no text becomes code: no eval, no Function, no vm (ASVS 1.3.2)', () => {
  expect(holding(/\beval\s*\(|\bnew Function\b|[^.\w]Function\s*\(|node:vm|from 'vm'|set(?:Timeout|Interval)\(\s*['"`]/)).toEqual([]);
});

test('one cipher is used, and only to check imported hashes of Firebase: no ECB, no padding of PKCS#1 v1.5 (ASVS 11.3.1)', () => {
  expect(holding(/create(?:De|C)ipher|publicEncrypt|privateDecrypt|privateEncrypt|RSA_PKCS1_PADDING|subtle/)).toEqual(['src/core/old-hash-functions.ts']);
  const uses = sources.flatMap(([, text]) => [...text.matchAll(/create(?:De|C)ipheriv\(\s*('[^']*'|\w+)/g)].map(([, algorithm]) => algorithm));
  expect(uses).toEqual(["'aes-256-ctr'"]);
});

test('cryptography is imported in the files that eslint.config.js lists, and no other file may import it (ASVS 11.1.3)', async () => {
  const eslint = new ESLint({ cwd: ROOT });
  const importing = new Set(holding(/from '(?:node:)?crypto'|import\('(?:node:)?crypto'\)/));
  expect(importing.size).toBeGreaterThan(10);
  const wrong = [];
  for (const [name] of sources.filter(([each]) => each.endsWith('.ts'))) {
    const { rules } = (await eslint.calculateConfigForFile(join(ROOT, name))) as { rules: Record<string, [number, { paths: { name: string }[] }]> };
    const rule = rules['no-restricted-imports'];
    const forbidden = rule?.[0] === 2 && ['node:crypto', 'crypto'].every((module) => rule[1].paths.some((path) => path.name === module));
    if (forbidden === importing.has(name)) wrong.push(name);
  }
  expect(wrong).toEqual([]);
});

test('every derived key and every hash function is in the inventory of the reference (ASVS 11.1.2)', () => {
  const reference = readFileSync(join(ROOT, 'src/README.md'), 'utf8');
  const inventory = reference.slice(reference.indexOf('### Keys and cryptography'), reference.indexOf('### Ways in'));
  const labels = [...readFileSync(join(ROOT, 'src/secrets.ts'), 'utf8').matchAll(/\b(?:key\(|derive\(secret, )'([a-z ]+)'/g)].map(([, label]) => `\`keyturn ${label} v1\``);
  expect(labels.length).toBeGreaterThan(5);
  expect(labels.filter((label) => !inventory.includes(label))).toEqual([]);
  const names: Record<string, string> = { sha1: 'SHA-1', sha256: 'SHA-256', sha512: 'SHA-512' };
  const hashes = sources.flatMap(([, text]) => [...text.matchAll(/create(?:Hash|Hmac)\('(\w+)'/g)].map(([, name = '']) => names[name] ?? name));
  expect([...new Set(hashes)].filter((name) => !inventory.includes(name))).toEqual([]);
});

test('nobody is asked a secret question, nor kept a hint: no field, column or setting is for one (ASVS 6.4.2)', async () => {
  const { document } = await readDocument();
  const names: string[] = [];
  const visit = (value: unknown) => {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, each] of Object.entries(value)) {
      if (key === 'properties') names.push(...Object.keys(each as object));
      visit(each);
    }
  };
  visit(document);
  names.push(...TABLES.flatMap(({ columns }) => columns), ...Object.keys(EnvironmentSchema.properties));
  expect(names).toEqual(expect.arrayContaining(['password', 'password_hash', 'PASSWORD_MIN_LENGTH']));
  expect(names.filter((name) => /question|hint|secret_?answer|maiden|mother|birth|pet/i.test(name))).toEqual([]);
});
