import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryFolder } from './support/app.ts';
import { type Server, startServer } from './support/server.ts';

/** The default settings: nothing configured but where the data goes and a free port. Started once for all documents. */
let server: Server;
const cleanUp: (() => unknown)[] = [];
beforeAll(async () => {
  const defaults = { NODE_ENV: '', LOG_LEVEL: '', RATE_LIMIT_ENABLED: '', ARGON2_MEMORY_KIB: '', ARGON2_TIME_COST: '' };
  const later = (work: () => unknown) => void cleanUp.unshift(work);
  server = await startServer({ ...defaults, DATA_DIR: temporaryFolder(later) }, later);
});
afterAll(async () => { for (const work of cleanUp) await work(); });

const run = promisify(execFile);
const PYTHON = '/usr/bin/python3';

function works(command: string, ...args: string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
const hasCurl = works('curl', '--version');
const hasRequests = works(PYTHON, '-c', 'import requests');

/** Runs curl as the documents write it; yields the status and the JSON body. */
async function curl(...args: string[]) {
  const { stdout } = await run('curl', ['-s', '-w', '\n%{http_code}', ...args]);
  const [body = '', status = ''] = stdout.split(/\n(?=\d+$)/);
  return { status: Number(status), body: JSON.parse(body) as Record<string, string> };
}

const json = (body: object) => ['-H', 'Content-Type: application/json', '-d', JSON.stringify(body)];

describe.skipIf(!hasCurl)(`with curl${hasCurl ? '' : ' (skipped: there is no curl)'}`, () => {
  test('the generic document: register, log in, profile, refresh-token', async () => {
    const { url } = server;
    const who = { username: 'someone', password: 'a password of mine' };
    expect(await curl('-X', 'POST', `${url}/register`, ...json(who))).toMatchObject({ status: 201, body: { msg: 'user created' } });
    const { body } = await curl('-X', 'POST', `${url}/login`, ...json(who));
    expect(await curl(`${url}/profile`, '-H', `Authorization: Bearer ${body.access_token}`)).toMatchObject({ status: 200, body: { username: 'someone' } });
    expect(await curl(`${url}/profile`, '-H', 'Authorization: Bearer x.y.z')).toMatchObject({ status: 401 });
    const refreshed = await curl('-X', 'POST', `${url}/refresh-token`, ...json({ refresh_token: body.refresh_token }));
    expect(refreshed).toMatchObject({ status: 200, body: { access_token: expect.any(String), token_type: 'bearer' } });
    expect(await curl('-X', 'POST', `${url}/refresh-token`, ...json({ refresh_token: 'invalid' }))).toMatchObject({ status: 401 });
  });

  test('the first FastAPI document: its three commands, and its error', async () => {
    const { url } = server;
    const registered = await curl('-X', 'POST', `${url}/auth/register`, '-H', 'Content-Type: application/json',
      '-d', '{"username": "johndoe", "email": "john@example.com", "password": "securepassword123"}');
    expect(registered).toMatchObject({ status: 201, body: { msg: 'user created' } });
    const login = await curl('-X', 'POST', `${url}/auth/login`, '-H', 'Content-Type: application/json', '-d', '{"username": "johndoe", "password": "securepassword123"}');
    expect(login).toMatchObject({ status: 200, body: { access_token: expect.stringMatching(/^ey/), refresh_token: expect.any(String), token_type: 'bearer' } });
    const me = await curl('-X', 'GET', `${url}/users/me`, '-H', `Authorization: Bearer ${login.body.access_token}`);
    expect(me).toMatchObject({ status: 200, body: { email: 'john@example.com' } });
    const wrong = await curl('-X', 'POST', `${url}/auth/login`, ...json({ email: 'john@example.com', password: 'wrong' }));
    expect(wrong).toMatchObject({ status: 401, body: { detail: 'Invalid credentials' } });
  });

  test('the Flask document: refresh by Authorization, protected route, logout', async () => {
    const { url } = server;
    const registered = await curl('-X', 'POST', `${url}/register`, ...json({ username: 'user', email: 'user@example.com', password: 'Password123' }));
    expect(registered).toMatchObject({ status: 201, body: { msg: expect.any(String), user: {}, access_token: expect.any(String), refresh_token: expect.any(String) } });
    const { body } = await curl('-X', 'POST', `${url}/login`, ...json({ username: 'user', password: 'Password123' }));
    expect(body).toMatchObject({ msg: 'Login successful', user: { username: 'user' } });
    const refreshed = await curl('-X', 'POST', `${url}/refresh`, '-H', `Authorization: Bearer ${body.refresh_token}`);
    expect(refreshed).toMatchObject({ status: 200, body: { msg: 'Token refreshed', access_token: expect.any(String) } });
    const guarded = () => curl(`${url}/protected`, '-H', `Authorization: Bearer ${refreshed.body.access_token}`);
    expect(await guarded()).toMatchObject({ status: 200, body: { msg: 'This is a protected endpoint', user_id: expect.any(String) } });
    expect(await curl('-X', 'POST', `${url}/logout`, '-H', `Authorization: Bearer ${body.access_token}`)).toMatchObject({ status: 200 });
    expect(await guarded()).toMatchObject({ status: 401 });
  });

  test('the Django document: every path under /api with its slash, and the change of the password', async () => {
    const { url } = server;
    const who = { username: 'jane', email: 'jane@example.com', password: 'oldpassword' };
    expect(await curl('-X', 'POST', `${url}/api/register/`, ...json(who))).toMatchObject({ status: 201 });
    const { body } = await curl('-X', 'POST', `${url}/api/login/`, ...json({ username: 'jane', password: 'oldpassword' }));
    const auth = ['-H', `Authorization: Bearer ${body.access_token}`];
    expect(await curl(`${url}/api/protected/`, ...auth)).toMatchObject({ status: 200 });
    const changed = await curl('-X', 'POST', `${url}/api/change-password/`, ...auth, ...json({ old_password: 'oldpassword', new_password: 'newpassword123' }));
    expect(changed).toMatchObject({ status: 200, body: { msg: 'Password changed successfully' } });
    // the answer begins a new session, because the old one ended with the old password
    const { access_token, refresh_token } = changed.body;
    const withNew = ['-H', `Authorization: Bearer ${access_token}`];
    expect(await curl('-X', 'POST', `${url}/api/refresh/`, ...json({ refresh_token }))).toMatchObject({ status: 200 });
    expect(await curl('-X', 'POST', `${url}/api/logout/`, ...withNew)).toMatchObject({ status: 200, body: { msg: 'logged out' } });
    expect(await curl('-X', 'POST', `${url}/api/refresh/`, ...json({ refresh_token }))).toMatchObject({ status: 401 });
  });

  test('the second FastAPI document: login, protected, refresh, health', async () => {
    const { url } = server;
    await curl('-X', 'POST', `${url}/register`, ...json({ username: 'testuser', password: 'testpassword' }));
    const { body } = await curl('-X', 'POST', `${url}/login`, ...json({ username: 'testuser', password: 'testpassword' }));
    expect(body).toMatchObject({ access_token: expect.any(String), refresh_token: expect.any(String), token_type: 'bearer' });
    const guarded = await curl('-X', 'GET', `${url}/protected`, '-H', `Authorization: Bearer ${body.access_token}`);
    expect(guarded).toMatchObject({ status: 200, body: { message: 'Access granted for protected route.' } });
    const refreshed = await curl('-X', 'POST', `${url}/refresh`, ...json({ refresh_token: body.refresh_token }));
    expect(refreshed).toMatchObject({ status: 200, body: { access_token: expect.any(String), token_type: 'bearer' } });
    expect(await curl(`${url}/health`)).toMatchObject({ status: 200, body: { status: 'ok' } });
  });
});

const PYTHON_EXAMPLE = `
import requests, sys
url = sys.argv[1]
requests = requests.Session()
response = requests.post(url + "/auth/register", json={"email": "python@example.com", "password": "securepassword123"})
assert response.status_code == 201 and response.json()["msg"] == "user created", response.text
response = requests.post(url + "/auth/login", json={"email": "python@example.com", "password": "securepassword123"})
tokens = response.json()
headers = {"Authorization": f"Bearer {tokens['access_token']}"}
response = requests.get(url + "/users/me", headers=headers)
user_data = response.json()
assert user_data["email"] == "python@example.com", response.text
response = requests.post(url + "/auth/refresh")
new_tokens = response.json()
assert new_tokens["access_token"] != tokens["access_token"] and "refresh_token" not in new_tokens, response.text
assert requests.cookies["refresh_token"] != tokens["refresh_token"]
response = requests.post(url + "/auth/logout")
assert response.json() == {"msg": "logged out"} and "refresh_token" not in requests.cookies, response.text
assert requests.post(url + "/auth/refresh").status_code == 401
print("done")
`;

test.skipIf(!hasRequests)(`with Python’s requests: the program of the first FastAPI document${hasRequests ? '' : ' (skipped: there is no python3-requests)'}`, async () => {
  const { url } = server;
  expect((await run(PYTHON, ['-c', PYTHON_EXAMPLE, url])).stdout.trim()).toBe('done');
});

test('with fetch: the program of the first FastAPI document, as a browser sends it', async () => {
  const origin = { origin: server.url, 'sec-fetch-site': 'same-origin' };
  await server.post('/auth/register', { username: 'fetched', email: 'fetched@example.com', password: 'securepassword123' }, origin);
  const loginResponse = await server.post('/auth/login', { username: 'fetched', password: 'securepassword123' }, origin);
  const tokens = (await loginResponse.json()) as Record<string, string>;
  expect(tokens).not.toHaveProperty('refresh_token');
  const userResponse = await server.get('/users/me', tokens.access_token);
  expect(await userResponse.json()).toMatchObject({ username: 'fetched' });
  const cookie = loginResponse.headers.getSetCookie()[0]!.split(';')[0]!;
  const refreshed = await server.post('/auth/refresh', undefined, { ...origin, cookie });
  expect(await refreshed.json()).toEqual({ msg: 'Token refreshed', access_token: expect.any(String), token_type: 'bearer', expires_in: 900 });
});
