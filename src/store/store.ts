import { sql } from 'drizzle-orm';
import { openDb, type Step } from './db.ts';
import { sessionStatements } from './sessions.ts';
import { userStatements } from './users.ts';

export type Store = ReturnType<typeof openStore>;

/** The statements of the product on one open database. */
export function openStore(database: { path: string }) {
  const db = openDb(database.path);
  const ping = db.prepare('ping', (query) => query.select({ one: sql<number>`1` }).from(db.schema.users).limit(1));
  return {
    users: userStatements(db),
    sessions: sessionStatements(db),
    /** Runs the steps as one transaction; yields each step's rows, or null if it was undone. Durable when it resolves. */
    transact: (steps: Step[]) => db.transact(steps),
    /** Rejects when the database does not answer. */
    ping: () => db.read(ping, {}),
    close: () => db.close(),
  };
}
