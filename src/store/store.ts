import { type DatabaseOptions, openDb, type Opening, type Step } from './db.ts';
import { mailStatements } from './mails.ts';
import { oneTimeTokenStatements } from './one-time-tokens.ts';
import { sessionStatements } from './sessions.ts';
import { throttleStatements } from './throttles.ts';
import { userStatements } from './users.ts';

export type Store = Awaited<ReturnType<typeof openStore>>;

/** The statements of the product on one open database. */
export async function openStore(database: DatabaseOptions, opening?: Opening) {
  const db = await openDb(database, opening);
  return {
    users: userStatements(db),
    sessions: sessionStatements(db),
    oneTimeTokens: oneTimeTokenStatements(db),
    mails: mailStatements(db),
    throttles: throttleStatements(db),
    /** Runs the steps as one transaction; yields how many rows each step changed, or null if it was undone. Durable when it resolves. */
    transact: (steps: Step[]) => db.transact(steps),
    /** Resolves when the database answers and can be written. @throws DatabaseAway */
    ping: () => db.check(),
    /** Reads the database's own clock, epoch milliseconds; null on SQLite. @throws DatabaseAway */
    readClock: db.readClock,
    close: () => db.close(),
  };
}
