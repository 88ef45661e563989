/**
 * The app that a careful developer writes in an afternoon with the same packages: Fastify, @fastify/jwt, @fastify/cookie,
 * argon2 and better-sqlite3 in WAL mode with synchronous=FULL. Access tokens are not checked against a session; a refresh reads,
 * revokes and inserts in one transaction. Run as a process of its own: node reference.ts FOLDER
 */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import cookie from '@fastify/cookie';
import jwt from '@fastify/jwt';
import argon2 from 'argon2';
import Database from 'better-sqlite3';
import Fastify from 'fastify';

type UserRow = { id: string; email: string; password_hash: string; created_at: string };
type TokenRow = { id: string; user_id: string; revoked: number; expires_at: number };

const [folder = '.'] = process.argv.slice(2);
const db = new Database(join(folder, 'reference.db'));
db.pragma('journal_mode = WAL');
db.exec(`
  CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, email TEXT UNIQUE NOT NULL, password_hash TEXT NOT NULL, created_at TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS refresh_tokens (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users(id), token_hash TEXT UNIQUE NOT NULL, revoked INTEGER NOT NULL, expires_at INTEGER NOT NULL);
`);
db.prepare('SELECT 1 FROM users').get();
db.pragma('synchronous = FULL');

const app = Fastify({ logger: true });
await app.register(jwt, { secret: 'a-secret-of-the-reference-app-that-is-long-enough' });
await app.register(cookie);

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function issue(userId: string) {
  const refreshToken = randomBytes(32).toString('base64url');
  db.prepare('INSERT INTO refresh_tokens (id, user_id, token_hash, revoked, expires_at) VALUES (?, ?, ?, 0, ?)')
    .run(randomUUID(), userId, sha256(refreshToken), Date.now() + 7 * 86_400_000);
  return { refreshToken, accessToken: app.jwt.sign({ sub: userId }, { expiresIn: '15m' }) };
}

app.post('/auth/register', async (request) => {
  const { email, password } = request.body as { email: string; password: string };
  const id = randomUUID();
  db.prepare('INSERT INTO users (id, email, password_hash, created_at) VALUES (?, ?, ?, ?)')
    .run(id, email, await argon2.hash(password, { type: argon2.argon2id, memoryCost: 19456, timeCost: 2, parallelism: 1 }), new Date().toISOString());
  const { accessToken, refreshToken } = issue(id);
  return { access_token: accessToken, refresh_token: refreshToken };
});

app.post('/auth/login', async (request, reply) => {
  const { email, password } = request.body as { email: string; password: string };
  const user = db.prepare('SELECT * FROM users WHERE email = ?').get(email) as UserRow | undefined;
  if (!user || !(await argon2.verify(user.password_hash, password))) return reply.code(401).send({ error: 'Invalid credentials' });
  const { accessToken, refreshToken } = issue(user.id);
  reply.setCookie('refresh_token', refreshToken, { httpOnly: true, sameSite: 'strict', path: '/' });
  return { access_token: accessToken, refresh_token: refreshToken };
});

app.post('/auth/refresh', async (request, reply) => {
  const presented = request.cookies.refresh_token ?? '';
  const rotate = db.transaction(() => {
    const row = db.prepare('SELECT * FROM refresh_tokens WHERE token_hash = ?').get(sha256(presented)) as TokenRow | undefined;
    if (!row || row.revoked || row.expires_at < Date.now()) return null;
    db.prepare('UPDATE refresh_tokens SET revoked = 1 WHERE id = ?').run(row.id);
    return issue(row.user_id);
  });
  const tokens = rotate();
  if (!tokens) return reply.code(401).send({ error: 'Invalid refresh token' });
  reply.setCookie('refresh_token', tokens.refreshToken, { httpOnly: true, sameSite: 'strict', path: '/' });
  return { access_token: tokens.accessToken };
});

app.get('/users/me', async (request, reply) => {
  const { sub } = await request.jwtVerify<{ sub: string }>().catch(() => ({ sub: '' }));
  const user = db.prepare('SELECT id, email, created_at FROM users WHERE id = ?').get(sub);
  return user ?? reply.code(401).send({ error: 'Unauthorized' });
});

console.log(`"address":"${await app.listen({ port: 0, host: '127.0.0.1' })}"`);
