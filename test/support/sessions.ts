import Database from 'better-sqlite3';
import type { TestApp } from './app.ts';
import { query } from './postgres.ts';

/**
 * Inserts sessions of a user past the server, as an older version could have left them: `many-1`, `many-2` … Each was used a
 * little later than the one before. They began in another order. `owner` is SQL for whose the session `i` is.
 */
export async function insertSessions({ app, clock }: TestApp, userId: string, count: number, { revokedAt = null as number | null, prefix = 'many-', owner = `'${userId}'` } = {}) {
  const { database } = app.config;
  const { id: keyId } = app.config.secrets.derivedKeys[0];
  const start = clock.now - 86_400_000;
  const numbers = database.dialect === 'postgres' ? `generate_series(1, ${count}) AS i`
    : `(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count}) SELECT i FROM n)`;
  const text = `INSERT INTO sessions (id, user_id, token_hash, generation, window_started_at, window_generation, previous_generation,
    rotated_at, idle_expires_at, expires_at, revoked_at, revoked_reason, key_id, user_agent, ip, created_at, last_used_at)
    SELECT '${prefix}' || i, ${owner}, 'hash ' || i, 0, ${start}, 0, 0, ${start}, ${clock.now + 86_400_000}, ${clock.now + 2 * 86_400_000},
      ${revokedAt ?? 'NULL'}, ${revokedAt ? "'logout'" : 'NULL'}, '${keyId}', 'Mozilla/5.0 (X11; Linux x86_64)', '192.0.2.1',
      ${start} - (i * 7919) % ${count}, ${start} + i FROM ${numbers}`;
  if (database.dialect === 'postgres') {
    await query(database.url, text);
    return;
  }
  const connection = new Database(database.path);
  connection.exec(text);
  connection.close();
}

/** The log's lines of an event. */
export const linesOf = ({ logLines }: TestApp, event: string) =>
  logLines.map((line) => JSON.parse(line) as Record<string, unknown>).filter((line) => line.event === event);

/** The ids of the user's sessions, by the pages of the list. */
export async function pagesOf({ get }: TestApp, accessToken: string, limit?: number): Promise<string[][]> {
  const pages: string[][] = [];
  for (let next: string | null = ''; next !== null;) {
    const query = new URLSearchParams({ ...(limit && { limit: `${limit}` }), ...(next && { after: next }) });
    const page: { sessions: { id: string }[]; next: string | null } = (await get(`/auth/sessions?${query.toString()}`, accessToken)).json();
    pages.push(page.sessions.map(({ id }) => id));
    ({ next } = page);
  }
  return pages;
}
