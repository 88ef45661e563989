import { createHmac, createSecretKey, randomBytes } from 'node:crypto';
import Database from 'better-sqlite3';

export type SeenTexts = ReturnType<typeof rememberTexts>;

/**
 * Remembers at which line a text was first seen, in a temporary file that has no name and is gone afterwards, so that memory
 * does not grow with the lines. It holds hashes under a key that is only in memory.
 */
export function rememberTexts() {
  const connection = new Database('');
  connection.pragma('journal_mode = OFF');
  connection.exec('CREATE TABLE seen (hash BLOB PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID; BEGIN');
  const remember = connection.prepare<[Buffer, number], { line: number }>('INSERT INTO seen VALUES (?, ?) ON CONFLICT DO UPDATE SET line = line RETURNING line');
  const key = createSecretKey(randomBytes(32));
  return {
    /** The line at which the text was seen first: this one, or one before. */
    firstLineOf: (text: string, line: number): number =>
      remember.get(createHmac('sha256', key).update(text).digest(), line)?.line ?? line,
    close: () => void connection.close(),
  };
}
