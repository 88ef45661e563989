import { createServer } from 'node:http';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { buildApp } from '../src/app.ts';
import { loadConfig } from '../src/config.ts';
import { bearer, PASSWORD, startApp, temporaryFolder, TEST_ENVIRONMENT, tokensOf } from './support/app.ts';
import { listen } from './support/http.ts';
import { openMetrics } from './support/metrics.ts';

async function startWithMetrics(env: Record<string, string> = {}) {
  const metrics = await openMetrics();
  return { ...(await startApp({ ...metrics.env, ...env })), ...metrics };
}

describe('metrics are served', () => {
  test('on their own port and nowhere else, in Prometheus’s text format', async () => {
    const { app, get, ask, read } = await startWithMetrics();
    const answer = await ask();
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
    expect((await get('/metrics')).statusCode).toBe(404);
    const port = await listen(app);
    expect((await fetch(`http://127.0.0.1:${port}/metrics`)).status).toBe(404);
    for (const path of ['/', '/health', '/auth/login', '/users/me', '/docs']) expect((await ask(path)).status).toBe(404);
    expect((await ask('/metrics', { method: 'POST' })).status).toBe(404);
    const lines = await read();
    for (const name of ['process_cpu_seconds_total', 'process_resident_memory_bytes', 'nodejs_eventloop_lag_seconds']) expect(lines.filter((line) => line.startsWith(`${name} `))).toHaveLength(1);
  });

  test('to this machine only, unless told otherwise, and not at all unless asked for', () => {
    const load = (env: Record<string, string> = {}) => loadConfig({ ...TEST_ENVIRONMENT, DATA_DIR: temporaryFolder(), ...env });
    expect(load()).toMatchObject({ metricsPort: 0, metricsHost: 'localhost' });
    expect(() => load({ PORT: '9100', METRICS_PORT: '9100' })).toThrow(/^METRICS_PORT: must not be PORT/);
    expect(() => load({ METRICS_PORT: '65536' })).toThrow(/^METRICS_PORT: expected integer/);
  });

  test('until the app is closed', async () => {
    const { app, ask } = await startWithMetrics();
    await ask();
    await app.close();
    await expect(ask()).rejects.toThrow();
  });

  test('or the start is refused by the name of the variable, where the port is taken', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as { port: number };
    const config = loadConfig({ ...TEST_ENVIRONMENT, LOG_LEVEL: 'silent', DATA_DIR: temporaryFolder(), METRICS_PORT: `${port}`, METRICS_HOST: '127.0.0.1' });
    await expect(buildApp(config)).rejects.toThrow(/^METRICS_PORT: cannot be listened on \(EADDRINUSE\)$/);
    taken.close();
  });
});

describe('what is counted', () => {
  test('superseded refresh tokens, within the grace and past it apart, each time and also when another cookie is good', async () => {
    const { clock, register, refresh, post, get, value } = await startWithMetrics();
    const counts = async () => [await value('keyturn_refresh_token_repeated_total'), await value('keyturn_refresh_token_reused_total')];
    const john = await register();
    const { refreshToken } = john;
    const second = tokensOf(await refresh(refreshToken)).refreshToken;
    await refresh('rt1.unknown');
    expect(await counts()).toEqual([0, 0]);
    await refresh(refreshToken);
    await refresh(refreshToken);
    expect(await counts()).toEqual([2, 0]);
    await refresh(second);
    const other = await register('jane@example.com');
    clock.now += 31_000;
    expect((await post('/auth/refresh', undefined, { cookie: `refresh_token=${second}; refresh_token=${other.refreshToken}` })).statusCode).toBe(200);
    expect(await counts()).toEqual([2, 1]);
    expect((await get('/users/me', john.accessToken)).statusCode).toBe(401);
  });

  test('sign-ins by their outcome, and requests over the rate limit', async () => {
    const { register, login, post, value } = await startWithMetrics({ RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_CREDENTIALS_PER_MINUTE: '3' });
    await register();
    await login();
    const wrong = { email: 'john@example.com', password: 'a wrong guess' };
    for (const status of [401, 401, 429, 429]) expect((await post('/auth/login', wrong)).statusCode).toBe(status);
    expect(await value('keyturn_logins_total{outcome="signed_in"}')).toBe(1);
    expect(await value('keyturn_logins_total{outcome="refused"}')).toBe(2);
    expect(await value('keyturn_rate_limited_total')).toBe(2);
    expect(await value('keyturn_rate_limit_fallbacks_total')).toBe(0);
    expect(await value('keyturn_redis_up')).toBeUndefined();
  });

  test('requests and their time, by the pattern of the route: no path, address, user or token is a label', async () => {
    const { app, register, get, post, request, read, value } = await startWithMetrics();
    const { accessToken, refreshToken, userId } = await register();
    await request({ method: 'DELETE', url: '/auth/sessions/some-id', headers: bearer(accessToken) });
    for (const path of ['/nowhere/a', '/nowhere/b']) await get(`${path}?token=query-secret`);
    for (const path of ['/login', '/api/login', '/auth/login/']) await post(path, { email: 'john@example.com', password: PASSWORD });
    await request({ method: 'PUT', url: '/auth/login' });
    await request({ method: 'GET', url: '/%zz' });
    expect(await value('keyturn_http_requests_total{method="DELETE",route="/auth/sessions/:id",status="404"}')).toBe(1);
    expect(await value('keyturn_http_requests_total{method="GET",route="none",status="404"}')).toBe(2);
    expect(await value('keyturn_http_requests_total{method="POST",route="/auth/login",status="200"}')).toBe(3);
    expect(await value('keyturn_http_requests_total{method="PUT",route="/auth/login",status="405"}')).toBe(1);
    expect(await value('keyturn_http_request_duration_seconds_count{method="POST",route="/auth/login"}')).toBe(3);
    expect(await value('keyturn_http_request_duration_seconds_bucket{le="+Inf",method="POST",route="/auth/login"}')).toBe(3);
    const patterns = new Set(app.routeMethods.keys());
    const routes = (await read()).flatMap((line) => /route="([^"]*)"/.exec(line)?.[1] ?? []);
    for (const route of routes) expect(route === 'none' || patterns.has(route)).toBe(true);
    const text = (await read()).join('\n');
    for (const secret of ['nowhere', 'some-id', 'query-secret', '127.0.0.1', 'john', userId, accessToken, refreshToken]) expect(text).not.toContain(secret);
  });

  test('by each app for itself', async () => {
    const [one, two] = [await startWithMetrics(), await startWithMetrics()];
    await one.register();
    await one.login();
    expect(await one.value('keyturn_logins_total{outcome="signed_in"}')).toBe(1);
    expect(await two.value('keyturn_logins_total{outcome="signed_in"}')).toBeUndefined();
  });
});
