import { join } from 'node:path';
import Database from 'better-sqlite3';
import { showProgress } from '../../src/cli/progress.ts';
import { loadConfig } from '../../src/config.ts';
import { createPasswords } from '../../src/core/passwords.ts';
import { formatRefreshToken, hashToken, randomId, randomSecret } from '../../src/core/refresh-tokens.ts';
import { openStore } from '../../src/store/store.ts';

const BATCH = 5_000;
const DAY_MS = 86_400_000;

/** Users with one live session each, written straight into the database as the API would; yields some of them, spread evenly. */
export async function seed(env: Record<string, string>, password: string, users: number, wanted: number): Promise<{ emails: string[]; refreshTokens: string[] }> {
  const config = loadConfig(env);
  const store = await openStore(config.database); // makes the tables
  await store.close();
  const passwordHash = await createPasswords(config).hash(password);
  const db = new Database(config.database.dialect === 'sqlite' ? config.database.path : join(config.dataDir, 'none'));
  db.pragma('synchronous = OFF');
  const insertUser = db.prepare(`INSERT INTO users (id, email, password_hash, roles, password_changed_at, created_at) VALUES (?, ?, ?, '', ?, ?)`);
  const insertSession = db.prepare(`INSERT INTO sessions (id, user_id, token_hash, generation, window_started_at, window_generation, previous_generation, rotated_at,
    idle_expires_at, expires_at, key_id, user_agent, ip, created_at, last_used_at)
    VALUES (?, ?, ?, 0, ?, 0, 0, ?, ?, ?, ?, 'bench', '192.0.2.1', ?, ?)`);
  const sample = { emails: [] as string[], refreshTokens: [] as string[] };
  const now = Date.now() - 60_000;
  const [key] = config.secrets.derivedKeys;
  const insert = (at: number) => {
    const userId = randomId();
    const email = `${randomId().toLowerCase()}.${at}@example.com`;
    const token = { sessionId: randomId(), generation: 0, secret: randomSecret() };
    insertUser.run(userId, email, passwordHash, now, now);
    insertSession.run(token.sessionId, userId, hashToken(token), now, now, now + 7 * DAY_MS, now + 30 * DAY_MS, key.id, now, now);
    if (at % Math.floor(users / wanted) !== 0 || sample.emails.length === wanted) return;
    sample.emails.push(email);
    sample.refreshTokens.push(formatRefreshToken(key, token));
  };
  const progress = showProgress(process.stderr, Date.now);
  const onProgress = progress.begin(`seeding users`);
  for (let done = 0; done < users; done += BATCH) {
    db.transaction(() => { for (let at = done; at < Math.min(done + BATCH, users); at += 1) insert(at); })();
    onProgress(Math.min(done + BATCH, users), users);
    await new Promise(setImmediate);
  }
  progress.end();
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
  return sample;
}
