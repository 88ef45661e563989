import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { bearer, PASSWORD, problemOf, startApp, tokensOf } from './support/app.ts';
import { countAnswers, listen, parseAnswer, sendRaw } from './support/http.ts';

/** What no answer may be without (ASVS 3.4, 4.1.1). */
const SECURITY_HEADERS = {
  'content-security-policy': "default-src 'none';base-uri 'none';form-action 'none';frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'cache-control': 'no-store',
  'cross-origin-resource-policy': 'same-origin',
};

const request = (line: string, ...headers: string[]) => [line, ...headers, '', ''].join('\r\n');
const JSON_TYPE = 'Content-Type: application/json';

describe('security headers', () => {
  test('are on every answer, whatever its status, and nothing tells what the server is made of', async () => {
    const { app, register, post, get, request: send } = await startApp({ RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_TOKENS_PER_MINUTE: '1' });
    const { accessToken } = await register();
    const answers = [
      await get('/users/me', accessToken), await get('/health'), await get('/users/me'), await get('/nothing-here'), await get('/%'),
      await get(`/auth/sessions/${'a'.repeat(200)}`), await send({ method: 'PUT', url: '/auth/login' }), await send({ method: 'OPTIONS', url: '/auth/login' }),
      await post('/auth/login', { email: 'a', password: 'b'.repeat(17_000) }),
      await send({ method: 'POST', url: '/auth/login', headers: { 'content-type': 'text/plain' }, payload: 'x' }),
      await post('/auth/login', { email: 'a' }), await post('/auth/login', {}, { 'sec-fetch-site': 'cross-site' }),
      await post('/auth/logout'), await post('/auth/logout'), await post('/auth/register', { email: 'john@example.com', password: PASSWORD }),
    ];
    app.store.users.findForSignIn = () => { throw new Error('boom'); };
    answers.push(await post('/auth/login', { email: 'a', password: 'b' }));
    expect(answers.map(({ statusCode }) => statusCode)).toEqual([200, 200, 401, 404, 400, 404, 405, 404, 413, 415, 422, 403, 401, 429, 409, 500]);
    for (const { headers } of answers) {
      expect(headers).toMatchObject({ ...SECURITY_HEADERS, 'content-type': expect.stringMatching(/^application\/(problem\+)?json; charset=utf-8$/), 'x-request-id': expect.any(String) });
      expect(Object.keys(headers)).not.toEqual(expect.arrayContaining([expect.stringMatching(/^(server|x-powered-by|location)$/)]));
    }
  });

  test('are on the answers of the parser, too, and on those of a server that is shutting down', async () => {
    const { app } = await startApp();
    const port = await listen(app);
    const open = connect(port, '127.0.0.1');
    const received: Buffer[] = [];
    open.on('data', (chunk: Buffer) => void received.push(chunk));
    open.write('GET /health HTTP/1.1\r\nHost: a\r\n');
    const refused = parseAnswer(await sendRaw(port, 'NONSENSE\r\n\r\n'));
    const closing = app.close();
    await expect.poll(() => app.server.listening).toBe(false);
    open.write('\r\n');
    await Promise.all([closing, once(open, 'close')]);
    const drained = parseAnswer(Buffer.concat(received).toString());
    expect([refused.status, drained.status]).toEqual([400, 503]);
    for (const { headers } of [refused, drained]) expect(headers).toMatchObject({ ...SECURITY_HEADERS, 'content-type': 'application/problem+json; charset=utf-8' });
    expect(drained.headers['retry-after']).toBe('1');
  });
});

describe('one way to read a request', () => {
  const ambiguous: [string, string | Buffer][] = [
    ['two Host lines', request('GET /health HTTP/1.1', 'Host: a', 'Host: b', 'Connection: close')],
    ['two equal Host lines in different case', request('GET /health HTTP/1.1', 'Host: a', 'hOST: a', 'Connection: close')],
    ['no Host line', request('GET /health HTTP/1.1', 'Connection: close')],
    ['an HTTP/0.9 line', 'GET /health\r\n\r\n'],
    ['an HTTP/2.0 line', request('GET /health HTTP/2.0', 'Host: a', 'Connection: close')],
    ['Content-Length and Transfer-Encoding', `${request('POST /auth/login HTTP/1.1', 'Host: a', JSON_TYPE, 'Content-Length: 5', 'Transfer-Encoding: chunked')}0\r\n\r\n${request('GET /health HTTP/1.1', 'Host: a')}`],
    ['two different Content-Lengths', `${request('POST /auth/login HTTP/1.1', 'Host: a', JSON_TYPE, 'Content-Length: 2', 'Content-Length: 50')}{}${request('GET /health HTTP/1.1', 'Host: a')}`],
    ['a signed Content-Length', `${request('POST /auth/login HTTP/1.1', 'Host: a', JSON_TYPE, 'Content-Length: +2')}{}`],
    ['a Transfer-Encoding that does not end in chunked', `${request('POST /auth/login HTTP/1.1', 'Host: a', JSON_TYPE, 'Transfer-Encoding: chunked, identity')}0\r\n\r\n`],
    ['a Transfer-Encoding that only looks like chunked', `${request('POST /auth/login HTTP/1.1', 'Host: a', JSON_TYPE, 'Transfer-Encoding: xchunked')}0\r\n\r\n`],
    ['a space before the colon', `${request('POST /auth/login HTTP/1.1', 'Host: a', JSON_TYPE, 'Transfer-Encoding : chunked')}0\r\n\r\n`],
    ['a folded header line', request('GET /health HTTP/1.1', 'Host: a', 'X-A: b', ' Transfer-Encoding: chunked')],
    ['bare line feeds', 'GET /health HTTP/1.1\nHost: a\n\n'],
    ['a NUL in a header', request('GET /health HTTP/1.1', 'Host: a', 'X-A: b\0c')],
    ['an unknown method', request('FOO /health HTTP/1.1', 'Host: a')],
    ['a TLS hello', Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0])],
  ];

  test('one that can be read in two ways, or in none, gets one 400, and the connection is closed', async () => {
    const { app } = await startApp();
    const port = await listen(app);
    for (const [name, bytes] of ambiguous) {
      const text = await sendRaw(port, bytes);
      const { status, headers, body } = parseAnswer(text);
      expect.soft({ status, answers: countAnswers(text), connection: headers.connection?.toLowerCase() }, name).toEqual({ status: 400, answers: 1, connection: 'close' });
      expect.soft(headers['content-type'], name).toBe('application/problem+json; charset=utf-8');
      expect.soft(JSON.parse(body), name).toEqual({ type: 'urn:keyturn:problem:bad_request', title: 'Bad Request', status: 400, detail: 'The request is not well-formed', code: 'bad_request', request_id: expect.any(String) });
    }
  });

  test('HTTP/1.0 without Host and an Expect that is unknown are lawful, and are answered', async () => {
    const { app } = await startApp();
    const port = await listen(app);
    expect(parseAnswer(await sendRaw(port, request('GET /health HTTP/1.0')))).toMatchObject({ status: 200, body: '{"status":"ok"}' });
    expect(parseAnswer(await sendRaw(port, request('GET /health HTTP/1.1', 'Host: a', 'Expect: foo', 'Connection: close')))).toMatchObject({ status: 200, headers: { 'x-content-type-options': 'nosniff' } });
  });

  test.each([
    ['a long header', `X-A: ${'a'.repeat(20_000)}`],
    ['many headers', Array.from({ length: 1500 }, (_, index) => `X-${index}: aaaaaaaaa`).join('\r\n')],
  ])('%s: 431, nothing echoed', async (_name, header) => {
    const { app } = await startApp();
    const { status, body } = parseAnswer(await sendRaw(await listen(app), request('GET /health HTTP/1.1', 'Host: a', header)));
    expect([status, (JSON.parse(body) as { code: string }).code]).toEqual([431, 'headers_too_large']);
    expect(body).not.toContain('aaaa');
  });

  test('a body of more than 16 KiB is refused by its Content-Length, or as soon as it has grown too large', async () => {
    const { app, post, request: send } = await startApp();
    expect(problemOf(await post('/auth/login', { email: 'a', password: 'b'.repeat(16 * 1024) }))).toBe('413 body_too_large');
    expect(problemOf(await send({ method: 'POST', url: '/auth/login', headers: { 'content-type': 'application/json', 'content-length': '99999999' }, payload: '{}' }))).toBe('413 body_too_large');
    const chunk = `400\r\n${'a'.repeat(1024)}\r\n`;
    const text = await sendRaw(await listen(app), request('POST /auth/login HTTP/1.1', 'Host: a', JSON_TYPE, 'Transfer-Encoding: chunked') + chunk.repeat(17));
    expect(parseAnswer(text).status).toBe(413);
  });
});

describe('requests that do not wait for answers (pipelining)', () => {
  const get = (path: string) => request(`GET ${path} HTTP/1.1`, 'Host: a');
  const login = (body: string) => request('POST /auth/login HTTP/1.1', 'Host: a', JSON_TYPE, `Content-Length: ${body.length}`) + body;
  const statusesIn = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => Number(status));

  test('four on one connection are four answers, in their order, however long each takes (ASVS 4.2.2)', async () => {
    const { app, register } = await startApp();
    await register();
    const credentials = JSON.stringify({ email: 'john@example.com', password: PASSWORD });
    const text = await sendRaw(await listen(app), login(credentials) + get('/nowhere') + login('{}') + request('GET /health HTTP/1.1', 'Host: a', 'Connection: close'));
    expect(statusesIn(text)).toEqual([200, 404, 422, 200]);
  });

  test('ten are answered; the eleventh ends the connection, and a new one is served', async () => {
    const { app, events } = await startApp();
    const port = await listen(app);
    const last = request('GET /nowhere HTTP/1.1', 'Host: a', 'Connection: close');
    expect(statusesIn(await sendRaw(port, get('/nowhere').repeat(9) + last))).toEqual(Array(10).fill(404));
    const before = events().length;
    expect(statusesIn(await sendRaw(port, get('/nowhere').repeat(1000))).length).toBeLessThan(10);
    expect(events().length - before).toBeLessThanOrEqual(10);
    expect(statusesIn(await sendRaw(port, last))).toEqual([404]);
  });
});

describe('a client that stalls', () => {
  test('is given 10 s for headers, 15 s for the request and 30 s of silence, and is looked at every 5 s', async () => {
    const { app: { server } } = await startApp();
    expect(server).toMatchObject({ headersTimeout: 10_000, requestTimeout: 15_000, timeout: 30_000, connectionsCheckingInterval: 5000 });
  });

  test('an idle connection lives longer than the 60 s for which nginx keeps one, so that no request meets its end', async () => {
    const { app } = await startApp();
    const port = await listen(app);
    const [client, [socket]] = [connect(port, '127.0.0.1'), await once(app.server, 'connection') as [Socket]];
    client.write(request('GET /health HTTP/1.1', 'Host: a'));
    await once(client, 'data');
    await expect.poll(() => socket.timeout).toBeGreaterThan(70_000);
    client.destroy();
  });

  test.each([
    ['in its headers', 'POST /auth/login HTTP/1.1\r\nHost: a\r\n'],
    ['in its body', request('POST /auth/login HTTP/1.1', 'Host: a', JSON_TYPE, 'Content-Length: 50')],
  ])('%s is cut off with 408', async (_name, start) => {
    const { app } = await startApp();
    Object.assign(app.server, { headersTimeout: 50, requestTimeout: 50, connectionsCheckingInterval: 20 });
    const text = await sendRaw(await listen(app), start);
    const { status, headers, body } = parseAnswer(text);
    expect([status, headers.connection, (JSON.parse(body) as { code: string }).code]).toEqual([408, 'close', 'request_timeout']);
  });
});

describe('who sent a request', () => {
  const spoofed = { 'x-forwarded-for': '203.0.113.9', 'x-real-ip': '203.0.113.9', forwarded: 'for=203.0.113.9', 'x-user-id': '1', 'x-http-method-override': 'DELETE', 'x-original-url': '/health', 'x-rewrite-url': '/health' };
  const addressesWith = async (env: Record<string, string>, headers: Record<string, string>) => {
    const { post, get, logLines } = await startApp(env);
    const { accessToken } = tokensOf(await post('/auth/register', { email: 'john@example.com', password: PASSWORD }, headers));
    const { sessions } = (await get('/auth/sessions', accessToken)).json<{ sessions: { address: string }[] }>();
    return { addresses: sessions.map(({ address }) => address), log: logLines.join('') };
  };

  test('is the peer, whatever headers say, unless the peer is a trusted proxy', async () => {
    const { addresses, log } = await addressesWith({}, spoofed);
    expect(addresses).toEqual(['127.0.0.1']);
    expect(log).not.toContain('203.0.113.9');
    expect((await addressesWith({ TRUST_PROXY: '10.0.0.1' }, spoofed)).addresses).toEqual(['127.0.0.1']);
    expect((await addressesWith({ TRUST_PROXY: '127.0.0.1' }, spoofed)).addresses).toEqual(['203.0.113.9']);
  });

  test('is, behind a trusted proxy, the last address that a stranger could not have written', async () => {
    expect((await addressesWith({ TRUST_PROXY: '127.0.0.1, 10.0.0.0/8' }, { 'x-forwarded-for': '1.1.1.1, 203.0.113.9, 10.1.2.3' })).addresses).toEqual(['203.0.113.9']);
  });

  test('is not proved, and the method and path not changed, by any header but Authorization', async () => {
    const { register, request: send } = await startApp();
    const { accessToken } = await register();
    expect((await send({ method: 'GET', url: '/users/me', headers: spoofed })).statusCode).toBe(401);
    expect((await send({ method: 'GET', url: '/users/me', headers: { ...spoofed, ...bearer(accessToken) } })).json()).toMatchObject({ email: 'john@example.com' });
  });
});
