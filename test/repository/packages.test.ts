import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

type Locked = { version: string; resolved?: string; integrity?: string; link?: true; dev?: true; devOptional?: true; name?: string };
type Manifest = Record<'dependencies' | 'devDependencies' | 'optionalDependencies', Record<string, string>>;
const ROOT = join(import.meta.dirname, '../..');
const readJson = (name: string): unknown => JSON.parse(readFileSync(join(ROOT, name), 'utf8'));

const packages = Object.entries((readJson('package-lock.json') as { packages: Record<string, Locked> }).packages).filter(([path]) => path !== '');
const nameOf = (path: string, { name }: Locked) => name ?? path.split('node_modules/').at(-1)!;
const production = packages.filter(([, { dev, devOptional }]) => !(dev ?? devOptional));

describe('the lock file', () => {
  test('pins the content of every package by SHA-512, and names no other source than the registry (ASVS 15.2.4)', () => {
    expect(packages.length).toBeGreaterThan(100);
    const odd = packages.filter(([, { integrity = '', resolved = '', link }]) =>
      !/^sha512-[\w+/]{86}==$/.test(integrity) || link === true || (resolved !== '' && !resolved.startsWith('https://registry.npmjs.org/')));
    expect(odd).toEqual([]);
  });

  test('has every dependency at the one version that package.json names', () => {
    const { dependencies, devDependencies, optionalDependencies } = readJson('package.json') as Manifest;
    const named = Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies });
    expect(named.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
    const locked = new Map(packages);
    expect(named.filter(([name, version]) => locked.get(`node_modules/${name}`)?.version !== version)).toEqual([]);
  });
});

test('npm run sbom lists every package with its version and hash, and marks none of production as a tool of development (ASVS 15.1.2)', async () => {
  const { stdout } = await promisify(execFile)('npm', ['run', '--silent', 'sbom'], { cwd: ROOT, maxBuffer: 64 * 1024 * 1024 });
  type Component = { name: string; version: string; purl: string; hashes?: { alg: string; content: string }[]; properties: { name: string }[] };
  const sbom = JSON.parse(stdout) as { bomFormat: string; specVersion: string; components: Component[] };
  expect(sbom).toMatchObject({ bomFormat: 'CycloneDX', specVersion: expect.stringMatching(/^1\.[5-9]$/) as string });
  const listed = new Map(sbom.components.map((component) => [`${component.name}@${component.version}`, component]));
  const missing = [...production, ['node_modules/redoc', new Map(packages).get('node_modules/redoc')!] as const].filter(([path, locked]) => {
    const component = listed.get(`${nameOf(path, locked)}@${locked.version}`);
    const hash = component?.hashes?.find(({ alg }) => alg === 'SHA-512')?.content ?? '';
    return !component?.purl.startsWith('pkg:npm/') || Buffer.from(hash, 'hex').toString('base64') !== locked.integrity?.slice('sha512-'.length);
  });
  expect(missing).toEqual([]);
  const marked = production.filter(([path, locked]) => listed.get(`${nameOf(path, locked)}@${locked.version}`)!.properties.some(({ name }) => name.includes('development')));
  expect(marked).toEqual([]);
});

describe('the audit of CI', () => {
  /** What .ci/audit.ts makes of a report of npm. */
  async function judge(report: string) {
    const child = spawn(process.execPath, ['.ci/audit.ts'], { cwd: ROOT, stdio: ['pipe', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => void (said += chunk.toString()));
    child.stdin.end(report);
    const [code] = (await once(child, 'close')) as [number];
    return [code, said];
  }
  const advisory = (name: string, path: string) => JSON.stringify({
    auditReportVersion: 2,
    vulnerabilities: { [name]: { name, severity: 'high', range: '<9', via: [{ title: 'Something bad', url: 'https://example.com/advisory' }], nodes: [path] } },
  });

  test.each([['fastify', 'node_modules/fastify'], ['nodemailer, which tests use, too', 'node_modules/nodemailer'], ['redoc', 'node_modules/redoc']])('fails for an advisory about %s, and names it', async (name, path) => {
    expect(await judge(advisory(name, path))).toEqual([1, expect.stringContaining(`SHIPPED: high: ${name} <9: Something bad (https://example.com/advisory)`)]);
  });

  test('tells of an advisory about a tool of development, and passes', async () => {
    expect(await judge(advisory('eslint', 'node_modules/eslint'))).toEqual([0, expect.stringContaining('development only: high: eslint')]);
  });

  test('passes when there is none', async () => {
    expect(await judge('{"auditReportVersion":2,"vulnerabilities":{}}')).toEqual([0, '0 packages with advisories\n']);
  });

  test.each(['{"message":"405 Method Not Allowed","statusCode":405,"error":{"summary":""}}', 'no JSON at all', ''])('says that nothing was checked where the registry answers %j', async (report) => {
    expect(await judge(report)).toEqual([0, expect.stringMatching(/^NOT CHECKED: /)]);
  });
});
