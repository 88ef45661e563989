import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { connect as connectTls, type SecureVersion } from 'node:tls';
import { expect, test } from 'vitest';
import { LOCALHOST_PEM, makePem } from '../support/certificates.ts';
import { PASSWORD, temporaryFolder } from '../support/app.ts';
import { describeWithNginx, proxyOfCompose, startNginx } from '../support/nginx.ts';
import { freePort } from '../support/postgres.ts';
import { type Server, startServer } from '../support/server.ts';

const ROOT = join(import.meta.dirname, '../..');
const FORGED = { 'x-forwarded-for': '203.0.113.7', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'evil.example' };

const requestsIn = (server: Server) => server.output().split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as { event?: string; ip?: string }).filter(({ event }) => event === 'request');

/** The server as both samples expect it: on this machine, with the proxy trusted. */
const startBehindProxy = () => startServer({ HOST: '127.0.0.1', TRUST_PROXY: '127.0.0.1', COOKIE_SECURE: 'auto', DATA_DIR: temporaryFolder() });

describeWithNginx('the proxy of the compose file', () => {
  test('hands requests on, and nothing that a client wrote into the headers of proxies', async () => {
    const server = await startBehindProxy();
    const port = await freePort();
    await startNginx(proxyOfCompose(port, [server.url]), port);
    const url = `http://127.0.0.1:${port}`;
    const answer = await fetch(`${url}/auth/register`, {
      method: 'POST', headers: { 'content-type': 'application/json', ...FORGED }, body: JSON.stringify({ email: 'john@example.com', password: PASSWORD }),
    });
    expect(answer.status).toBe(201);
    expect(answer.headers.get('set-cookie'), 'the forged https counts for nothing').not.toContain('Secure');
    await expect.poll(() => requestsIn(server).map(({ ip }) => ip)).toEqual(['127.0.0.1']);
  });
});

describeWithNginx('the proxy of the README', () => {
  const sample = /```nginx\n([\s\S]*?)```/.exec(readFileSync(join(ROOT, 'README.md'), 'utf8'))?.[1] ?? '';

  async function start(pem: string) {
    const server = await startBehindProxy();
    const port = await freePort();
    const blocks = sample.replace('listen 443 ssl;', `listen 127.0.0.1:${port} ssl;`).replace('http://127.0.0.1:8000', server.url)
      .replace(/(ssl_certificate(?:_key)?) [^;]+;/g, `$1 ${pem};`);
    await startNginx(blocks, port);
    return { server, port };
  }

  /** The protocol and cipher that are agreed upon; the error's code where none is. */
  async function shake(port: number, options: { minVersion?: SecureVersion; maxVersion: SecureVersion; ciphers?: string }) {
    return new Promise<string>((resolve) => {
      const socket = connectTls({ host: '127.0.0.1', port, servername: 'localhost', rejectUnauthorized: false, ...options }, () => {
        resolve(`${socket.getProtocol()} ${socket.getCipher().standardName}`);
        socket.destroy();
      });
      socket.on('error', ({ code = '' }: NodeJS.ErrnoException) => resolve(code));
    });
  }

  test('overwrites the headers of proxies, so that the cookie is for https and the address is the client’s', async () => {
    const { server, port } = await start(LOCALHOST_PEM!);
    const headers = await new Promise<NodeJS.Dict<string | string[]>>((resolve, reject) => {
      request(`https://127.0.0.1:${port}/auth/register`, { method: 'POST', rejectUnauthorized: false, headers: { 'content-type': 'application/json', ...FORGED } }, (answer) => resolve(answer.headers))
        .on('error', reject).end(JSON.stringify({ email: 'john@example.com', password: PASSWORD }));
    });
    expect(String(headers['set-cookie'])).toMatch(/__Host-refresh_token=.*Secure/);
    await expect.poll(() => requestsIn(server).map(({ ip }) => ip)).toEqual(['127.0.0.1']);
  });

  test.each([['ECDSA', 'ec'], ['RSA', 'rsa']] as const)('speaks TLS 1.2 and 1.3 with forward secrecy, and nothing weaker, with a certificate of %s', async (_name, kind) => {
    const { port } = await start(makePem(kind)!);
    const weakest = { minVersion: 'TLSv1', ciphers: 'ALL:@SECLEVEL=0' } as const;
    expect(await shake(port, { maxVersion: 'TLSv1.3' })).toMatch(/^TLSv1\.3 /);
    expect(await shake(port, { maxVersion: 'TLSv1.2' })).toMatch(/^TLSv1\.2 TLS_ECDHE_\w+_(GCM|CHACHA20_POLY1305)_SHA\d+$/);
    expect(await shake(port, { ...weakest, maxVersion: 'TLSv1.1' })).toMatch(/^(ERR_SSL|ECONNRESET|EPROTO)/);
    for (const cipher of ['AES128-GCM-SHA256', 'AES256-SHA', 'ECDHE-RSA-AES128-SHA', 'ECDHE-ECDSA-AES256-SHA384', 'DHE-RSA-AES128-GCM-SHA256']) {
      expect([cipher, await shake(port, { ...weakest, maxVersion: 'TLSv1.2', ciphers: `${cipher}:@SECLEVEL=0` })]).toEqual([cipher, expect.stringMatching(/^(ERR_SSL|ECONNRESET|EPROTO)/)]);
    }
  });
});
