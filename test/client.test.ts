import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { expect, test } from 'vitest';
import { startApp, temporaryFolder } from './support/app.ts';
import { startServer } from './support/server.ts';

const ROOT = join(import.meta.dirname, '..');
const PRODUCTION = { NODE_ENV: 'production', ARGON2_MEMORY_KIB: '19456', ARGON2_TIME_COST: '2' };
const MOST_BYTES = 4096;

/** What a bundler makes of code that stands in a project with Keyturn among its packages. */
async function bundle(code: string): Promise<Buffer> {
  const folder = temporaryFolder();
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(ROOT, join(folder, 'node_modules/keyturn'));
  writeFileSync(join(folder, 'app.ts'), code);
  const { outputFiles: [file] } = await build({ absWorkingDir: folder, entryPoints: ['app.ts'], bundle: true, minify: true, format: 'esm', target: 'es2022', write: false, logLevel: 'silent' });
  return Buffer.from(file!.contents);
}

test('the client, minified and compressed, is under 4 kB; a bundler finds it as keyturn/client, and nothing else of the package', async () => {
  const bundled = await bundle("export * from 'keyturn/client';");
  const bytes = gzipSync(bundled, { level: 9 }).length;
  console.log(`the client: ${bundled.length} bytes minified, ${bytes} compressed`);
  expect(bytes).toBeLessThan(MOST_BYTES);
  expect(bundled.toString()).not.toMatch(/\bimport\b|\brequire\b/);
  await expect(bundle("export * from 'keyturn/src/config.ts';")).rejects.toThrow('Could not resolve "keyturn/src/config.ts"');
});

test('its types are those of the server’s answers, in a project that checks strictly', () => {
  const folder = temporaryFolder();
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(ROOT, join(folder, 'node_modules/keyturn'));
  writeFileSync(join(folder, 'app.ts'), `import { createClient, KeyturnError, type Client, type User } from 'keyturn/client';
const client: Client = createClient({ baseUrl: 'https://auth.example.com' });
const user: User = await client.login({ email: 'john@example.com', password: 'x' });
const maybe: User | null = await client.register({ username: 'john', password: user.id });
client.onChange((changed) => console.log(changed?.email, maybe));
try { await client.fetch('/x'); } catch (error) { if (error instanceof KeyturnError) console.log(error.retryAfter, error.errors[0]?.pointer); }
// @ts-expect-error neither an address nor a name
await client.login({ password: 'x' });
// @ts-expect-error no such scope
await client.logout({ scope: 'some' });
`);
  const options = ['--noEmit', '--strict', '--noUncheckedIndexedAccess', '--target', 'es2022', '--module', 'esnext', '--moduleResolution', 'bundler', '--lib', 'es2024,dom'];
  expect(() => execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), ...options, 'app.ts'], { cwd: folder, stdio: 'pipe' })).not.toThrow();
});

test('GET /client.js is a script without types, for every origin, without credentials', async () => {
  const { request } = await startApp({ ALLOWED_ORIGINS: 'https://app.example.com' });
  for (const origin of [undefined, 'https://app.example.com', 'https://stranger.example']) {
    const { statusCode, headers, body } = await request({ method: 'GET', url: '/client.js', headers: { ...(origin && { origin }) } });
    expect(statusCode).toBe(200);
    expect(headers).toMatchObject({
      'content-type': 'text/javascript; charset=utf-8', 'cache-control': 'public, max-age=300', 'access-control-allow-origin': '*',
      'cross-origin-resource-policy': 'cross-origin', 'x-content-type-options': 'nosniff', etag: expect.stringMatching(/^"[\w-]{43}"$/),
    });
    for (const name of ['access-control-allow-credentials', 'set-cookie', 'vary']) expect(headers[name]).toBeUndefined();
    expect(body).toContain('export function createClient');
    expect(body).not.toMatch(/export type|: string/);
  }
  expect((await request({ method: 'HEAD', url: '/client.js' })).headers['content-length']).toMatch(/^\d{4,}$/);
});

test('its strong ETag is answered with 304 when the browser has it, also weakened by a proxy or in a list', async () => {
  const { request } = await startApp();
  const ask = (tag?: string) => request({ method: 'GET', url: '/client.js', headers: { ...(tag && { 'if-none-match': tag }) } });
  const etag = String((await ask()).headers.etag);
  for (const tag of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
    const { statusCode, body, headers } = await ask(tag);
    expect([statusCode, body, headers.etag, headers['access-control-allow-origin']], tag).toEqual([304, '', etag, '*']);
  }
  for (const tag of ['"other"', etag.slice(1, -1), '""', 'W/']) expect((await ask(tag)).statusCode, tag).toBe(200);
});

test('in production there is the client, no demonstration, and no documentation unless it is asked for', async () => {
  const { get } = await startApp(PRODUCTION);
  expect((await get('/client.js')).statusCode).toBe(200);
  for (const url of ['/demo', '/demo/demo.js', '/demo/demo.css']) expect((await get(url)).statusCode, url).toBe(404);
  for (const url of ['/docs', '/redoc', '/openapi.json']) expect((await get(url)).statusCode, url).toBe(404);
  expect((await get('/')).json()).toEqual({ msg: expect.stringContaining('/health') });
  expect((await (await startApp({ ...PRODUCTION, DOCS: 'true' })).get('/')).headers.location).toBe('/docs');
});

test('outside production the demonstration is the first page, under a policy that allows nothing but its own files', async () => {
  const { get } = await startApp({ DOCS: 'false' });
  expect((await get('/')).headers.location).toBe('/demo');
  for (const [url, type] of [['/demo', 'text/html'], ['/demo/demo.js', 'text/javascript'], ['/demo/demo.css', 'text/css']] as const) {
    const { statusCode, headers } = await get(url);
    expect([statusCode, headers['content-type'], headers['cache-control']]).toEqual([200, `${type}; charset=utf-8`, 'no-store']);
    expect(headers['content-security-policy']).toMatch(/^default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; script-src 'self'; style-src 'self'; /);
    expect(headers['content-security-policy']).not.toMatch(/unsafe|https?:|\*/);
  }
  expect((await get('/demo')).body).not.toMatch(/<script>|<style>| style=| on\w+=/);
});

test('a start points a newcomer to the demonstration, and complains of nothing', async () => {
  const server = await startServer({ DATA_DIR: temporaryFolder() });
  await expect.poll(() => server.output()).toContain('/demo');
  expect(server.output()).not.toMatch(/warning/i);
});
