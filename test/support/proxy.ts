import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request as forward, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { LOCALHOST_PEM } from './certificates.ts';

/** What a network does to a request: refuses it, loses its answer, holds it back, takes out of its headers, or answers in the server's place. */
type Meddling = 'lose' | { hold?: Promise<unknown>; strip?: string };
export type Fault = 'refuse' | Meddling | { status: number; headers?: Record<string, string>; body?: string };
export type Seen = {
  method: string; url: string; host: string; origin: string | undefined; referer: string | undefined; site: string | undefined;
  authorization: string | undefined; cookie: string | undefined;
};

/** A single-page app in little: `keyturn` is its client, `seen` the users that the client told it of. */
const PAGE = `<!doctype html>
<title>App</title>
<link rel="icon" href="data:,">
<script>globalThis.ready = new Promise((resolve) => { globalThis.isReady = resolve; });</script>
<script type="module">
  const query = new URLSearchParams(location.search);
  Object.assign(globalThis, await import(query.get('client')));
  globalThis.seen = [];
  globalThis.begin = () => {
    globalThis.keyturn = createClient(JSON.parse(query.get('options')));
    keyturn.onChange((user) => seen.push(user && user.email));
    return keyturn;
  };
  globalThis.outcome = (promise) => promise.then((value) => value ?? 'done', ({ name, message, status, code, detail, errors, retryAfter, requestId }) =>
    status === undefined ? name + ': ' + message : { name, status, code, detail, errors, retryAfter, known: Boolean(requestId) });
  if (!query.has('later')) begin();
  isReady();
</script>
`;

/**
 * A reverse proxy on a free port, as nginx would be one. It hands on what is under the prefix, serves the page of an app
 * at /app on every host name, and does to requests what `fault` says. Without `fetchMetadata` it takes those headers out.
 */
export async function startProxy(upstream: () => string, { tls = false, prefix = '', fetchMetadata = true }: { tls?: boolean; prefix?: string; fetchMetadata?: boolean } = {}) {
  const proxy = { fault: (_seen: Seen): Fault | undefined => undefined, seen: [] as Seen[], port: 0, scheme: tls ? 'https' : 'http', close: () => {} };
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    if (!fetchMetadata) request.headers = withoutFetchMetadata(request.headers);
    const { method = '', url = '', headers: { host = '', origin, referer, authorization, cookie } } = request;
    const site = request.headers['sec-fetch-site']?.toString();
    if (url.startsWith('/app')) return void response.setHeader('content-type', 'text/html').end(PAGE);
    const seen = { method, url, host, origin, referer, site, authorization, cookie };
    proxy.seen.push(seen);
    const fault = proxy.fault(seen);
    if (fault === 'refuse') return void request.socket.destroy();
    if (typeof fault === 'object' && 'status' in fault) return void response.writeHead(fault.status, fault.headers).end(fault.body ?? '');
    if (!url.startsWith(`${prefix}/`)) return void response.writeHead(404).end();
    handOn(request, response, new URL(upstream() + url.slice(prefix.length)), proxy.scheme, fault);
  };
  const server = tls ? createTlsServer(readCertificate(), answer) : createServer(answer);
  server.listen(0, 'localhost');
  await once(server, 'listening');
  proxy.port = (server.address() as AddressInfo).port;
  proxy.close = () => {
    server.close();
    server.closeAllConnections();
  };
  onTestFinished(proxy.close);
  return Object.assign(proxy, { at: (host: string) => `${proxy.scheme}://${host}:${proxy.port}` });
}

function withoutFetchMetadata(headers: IncomingMessage['headers']) {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith('sec-fetch-')));
}

function handOn(request: IncomingMessage, response: ServerResponse, to: URL, scheme: string, fault: Meddling = {}): void {
  const host = request.headers.host ?? '';
  const headers = { ...request.headers, 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': scheme, 'x-forwarded-host': host };
  const asked = forward(to, { method: request.method, headers, agent: false }, (answer) => {
    const chunks: Buffer[] = [];
    answer.on('data', (chunk: Buffer) => chunks.push(chunk));
    answer.on('end', () => {
      if (fault === 'lose') return void request.socket.destroy();
      const { hold, strip = '' } = fault;
      const finish = () => response.writeHead(answer.statusCode ?? 502, answer.rawHeaders.map((part) => part.replace(strip, ''))).end(Buffer.concat(chunks));
      void (hold ? hold.then(finish) : finish());
    });
  });
  asked.on('error', () => response.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Bad Gateway</h1>'));
  request.pipe(asked);
}

/** Chromium is told not to mind that nobody vouches for it. */
function readCertificate() {
  if (LOCALHOST_PEM === null) throw new Error('an https proxy needs openssl');
  const pem = readFileSync(LOCALHOST_PEM);
  return { key: pem, cert: pem };
}
