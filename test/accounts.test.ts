import { expect, test } from 'vitest';
import { PASSWORD, startApp } from './support/app.ts';

test('registering makes an account and signs it in', async () => {
  const { post, get } = await startApp();
  const answer = await post('/auth/register', { email: 'John@Example.com', username: 'JohnDoe', password: PASSWORD });
  expect(answer.statusCode).toBe(201);
  const body = answer.json<Record<string, unknown>>();
  expect(body).toEqual({
    msg: 'user created',
    user: { id: expect.any(String), email: 'john@example.com', username: 'JohnDoe', email_verified: false, roles: [], created_at: expect.any(String) },
    access_token: expect.any(String), token_type: 'bearer', expires_in: 900, refresh_token: expect.stringMatching(/^rt1\./),
  });
  expect((await get('/users/me', body.access_token as string)).json()).toEqual(body.user);
});
