import { sql } from './drizzle.ts';
import { type DatabaseOptions, openDb, type Step } from './db.ts';
import { mailStatements } from './mails.ts';
import { oneTimeTokenStatements } from './one-time-tokens.ts';
import { sessionStatements } from './sessions.ts';
import { throttleStatements } from './throttles.ts';
import { userStatements } from './users.ts';

export type Store = Awaited<ReturnType<typeof openStore>>;

/** The statements of the product on one open database. */
export async function openStore(database: DatabaseOptions, onConnectionLost?: (error: Error) => void) {
  const db = await openDb(database, onConnectionLost);
  const ping = db.prepare('ping', (query) => query.select({ one: sql<number>`1` }).from(db.schema.users).limit(1));
  return {
    users: userStatements(db),
    sessions: sessionStatements(db),
    oneTimeTokens: oneTimeTokenStatements(db),
    mails: mailStatements(db),
    throttles: throttleStatements(db),
    /** Runs the steps as one transaction; yields each step's rows, or null if it was undone. Durable when it resolves. */
    transact: (steps: Step[]) => db.transact(steps),
    /** Rejects when the database does not answer. */
    ping: () => db.read(ping, {}),
    close: () => db.close(),
  };
}
