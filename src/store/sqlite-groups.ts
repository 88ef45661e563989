import type Database from 'better-sqlite3';
import { DatabaseAway } from './db.ts';
import { isBusy, type watchNames } from './sqlite-files.ts';

/** more than that gain nothing, and outlive the memory for short-lived objects */
const READS_AT_ONCE = 32;
/** For so long a write waits for another process to finish its own. */
const LOCK_TIMEOUT_MS = 2000;
const RETRY_MS = 20;

type Names = ReturnType<typeof watchNames>;
type Unit = { run: () => unknown; resolve: (result: never) => void; reject: (error: unknown) => void; lockedAt: number };
type Answer = () => void;

function unitOf(run: () => unknown, resolve: (result: never) => void, reject: (error: unknown) => void): Unit {
  return { run, resolve, reject, lockedAt: 0 };
}

function runUnit({ run, resolve, reject }: Unit): Answer {
  try {
    const result = run() as never;
    return () => resolve(result);
  } catch (error) {
    return () => reject(error);
  }
}

function refuseAll(units: Unit[], error: unknown) {
  const away = error instanceof DatabaseAway ? error
    : new DatabaseAway('the transaction failed', { code: (error as { code?: string }).code, cause: error });
  for (const { reject } of units) reject(away);
}

/**
 * The reads of one turn share one snapshot, which sees all that was answered before. Taking and leaving one costs more than a
 * look-up; and answers that leave together cost half as much each, because they wake the client once.
 */
export function groupReads(connection: Database.Database, names: Names) {
  const begin = connection.prepare('BEGIN');
  const end = connection.prepare('ROLLBACK');
  let waiting: Unit[] = [];

  function flush() {
    if (waiting.length === 0) return; // there were READS_AT_ONCE
    const units = waiting;
    waiting = [];
    let answers: Answer[];
    try {
      names.recheck();
      begin.run();
      answers = units.map(runUnit);
      if (connection.inTransaction) end.run();
    } catch (error) {
      refuseAll(units, error);
      return;
    }
    for (const answer of answers) answer();
  }

  return <Result>(run: () => Result) => new Promise<Result>((resolve, reject) => {
    if (waiting.length === 0) setImmediate(flush);
    waiting.push(unitOf(run, resolve, reject));
    if (waiting.length === READS_AT_ONCE) flush();
  });
}

/**
 * Group commit: the writes of one turn share one transaction and one flush to disk, each in a savepoint of its own, so that
 * one that fails takes no other with it. Answers go out after COMMIT, and only if the file still has its name. While another
 * process writes, they wait in their order, up to two seconds, and hold up nothing else.
 */
export function groupCommit(connection: Database.Database, names: Names) {
  const [begin, commit, rollback] = [connection.prepare('BEGIN IMMEDIATE'), connection.prepare('COMMIT'), connection.prepare('ROLLBACK')];
  const [savepoint, release, undo] = [connection.prepare('SAVEPOINT unit'), connection.prepare('RELEASE unit'), connection.prepare('ROLLBACK TO unit')];
  let waiting: Unit[] = [];

  function runInSavepoint({ run, resolve, reject }: Unit): Answer {
    savepoint.run();
    try {
      const result = run() as never;
      release.run();
      return () => resolve(result);
    } catch (error) {
      if (!connection.inTransaction) throw error;
      undo.run();
      release.run();
      return () => reject(error);
    }
  }

  function flush() {
    try {
      names.recheck();
      begin.run();
    } catch (error) {
      if (isBusy(error)) waitForLock(error);
      else refuseAll(waiting.splice(0), error);
      return;
    }
    const units = waiting;
    waiting = [];
    let answers: Answer[];
    try {
      answers = units.map(runInSavepoint);
      commit.run();
      names.check();
    } catch (error) {
      if (connection.inTransaction) rollback.run();
      refuseAll(units, error);
      return;
    }
    for (const answer of answers) answer();
  }

  function waitForLock(error: unknown) {
    const now = performance.now();
    for (const unit of waiting) unit.lockedAt ||= now;
    const late = waiting.filter(({ lockedAt }) => now - lockedAt >= LOCK_TIMEOUT_MS);
    waiting = waiting.slice(late.length); // they came first
    refuseAll(late, error);
    if (waiting.length > 0) setTimeout(flush, RETRY_MS * (0.5 + Math.random()));
  }

  return <Result>(run: () => Result) => new Promise<Result>((resolve, reject) => {
    if (waiting.length === 0) setImmediate(flush);
    waiting.push(unitOf(run, resolve, reject));
  });
}
