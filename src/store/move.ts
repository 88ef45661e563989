import { hash } from 'node:crypto';
import { type DatabaseOptions, openDb } from './db.ts';
import { type OnProgress, Refusal } from './files.ts';
import { openPostgresEnd } from './move-postgres.ts';
import { openSqliteEnd } from './move-sqlite.ts';
import { type Row, type Table, TABLES, type Value } from './tables.ts';

const BATCH = 1000;

/** One of the two databases of a move, as rows. Every method but `insert` sees one state of it. */
export type End = {
  /** whether its tables are those of this Keyturn, neither older nor newer */
  isCurrent(): Promise<boolean>;
  /** whether it was the target of a move that has not finished */
  isMarked(): Promise<boolean>;
  /** Marks it, so that nothing but a move uses it, or takes the mark away. On disk when it resolves. */
  setMark(marked: boolean): Promise<void>;
  count(table: Table): Promise<number>;
  /** The next rows by the primary key, in the database's own order; from the beginning after null. */
  readAfter(table: Table, key: Value[] | null, limit: number): Promise<Row[]>;
  /** The rows, at most as many, that have these primary keys. */
  find(table: Table, keys: Value[][]): Promise<Row[]>;
  /** Adds what is not there, in one transaction; yields how many rows that was. On disk when it resolves. */
  insert(table: Table, rows: Row[]): Promise<number>;
  close(): Promise<void>;
};
/** How an end is opened: `source` is only read, and `target` written. `live` reads a database that a server may be writing. */
export type Role = 'source' | 'live' | 'target';

export type Moved = { table: string; rows: number; copied: number; checksum: string };

/**
 * Copies all rows, in batches of bounded memory, and proves at the end, by counts and SHA-256 sums over every value, that
 * both databases hold the same. May be interrupted at any time and called again; until it has come to its end, the target is
 * marked, and nothing else opens it. The source is only read.
 * @throws Refusal, before anything is written, when the source is in use or the target holds a row that the source has not
 * @throws Error naming the table, when at the end they differ
 */
export async function moveDatabase(from: DatabaseOptions, to: DatabaseOptions, live: boolean, report: (step: string) => OnProgress): Promise<Moved[]> {
  const source = await openEnd(from, live ? 'live' : 'source');
  let target: End | undefined;
  try {
    if (!(await source.isCurrent())) throw new Refusal('the source is not of this version of Keyturn; start this version once with it, and stop it');
    if (await source.isMarked()) throw new Refusal('the source is half-moved: finish the move into it first');
    await (await openDb(to, { role: 'move' })).close(); // applies migrations
    target = await openEnd(to, 'target');
    if (!(await target.isCurrent())) throw new Refusal('the target was written by a newer Keyturn');
    for (const table of TABLES) await refuseStrangers(table, source, target, report(`comparing ${table.name}`));
    await target.setMark(true);
    const sums: { table: Table; copied: number; sum: string }[] = [];
    for (const table of TABLES) sums.push({ table, ...(await copyTable(table, source, target, report(`copying ${table.name}`))) });
    const moved: Moved[] = [];
    for (const { table, copied, sum } of sums) {
      const rows = await compare(table, sum, source, target, report(`checking ${table.name}`));
      moved.push({ table: table.name, rows, copied, checksum: sum });
    }
    await target.setMark(false);
    return moved;
  } finally {
    await target?.close();
    await source.close();
  }
}

function openEnd(options: DatabaseOptions, role: Role): Promise<End> {
  return options.dialect === 'sqlite' ? openSqliteEnd(options.path, role) : openPostgresEnd(options.url, role);
}

/** All rows in batches. The next batch is read while the last one is worked on. */
async function* batches(end: End, table: Table): AsyncGenerator<Row[]> {
  let rows = await end.readAfter(table, null, BATCH);
  while (rows.length > 0) {
    yield rows;
    rows = await end.readAfter(table, keyOf(table, rows.at(-1) as Row), BATCH);
  }
}

function keyOf(table: Table, row: Row): Value[] {
  return table.keyAt.map((at) => row[at] as Value);
}

/** What is in the target must be what an earlier, interrupted move put there: rows of the source as they are now. */
async function refuseStrangers(table: Table, source: End, target: End, onProgress: OnProgress) {
  const total = await target.count(table);
  let done = 0;
  for await (const rows of batches(target, table)) {
    const found = await source.find(table, rows.map((row) => keyOf(table, row)));
    const known = new Set(found.map(digest));
    if (rows.some((row) => !known.has(digest(row)))) throw new Refusal(`the target holds rows of ${table.name} which the source has not; empty it first, or name another`);
    done += rows.length;
    onProgress(done, total);
  }
}

async function copyTable(table: Table, source: End, target: End, onProgress: OnProgress) {
  const total = await source.count(table);
  const sum = checksum();
  let [done, copied] = [0, 0];
  let writing: Promise<number> = Promise.resolve(0);
  for await (const rows of batches(source, table)) {
    copied += await writing;
    writing = target.insert(table, rows);
    writing.catch(() => undefined); // is awaited in the next turn
    sum.add(rows);
    done += rows.length;
    onProgress(done, total);
  }
  copied += await writing;
  return { copied, sum: sum.value() };
}

async function compare(table: Table, expected: string, source: End, target: End, onProgress: OnProgress): Promise<number> {
  const [wanted, held] = [await source.count(table), await target.count(table)];
  if (wanted !== held) throw new Error(`${table.name} differs: ${wanted} rows in the source, ${held} in the target`);
  const sum = checksum();
  let done = 0;
  for await (const rows of batches(target, table)) {
    sum.add(rows);
    done += rows.length;
    onProgress(done, held);
  }
  if (sum.value() !== expected) throw new Error(`${table.name} differs: the checksums of its ${held} rows are not the same`);
  return held;
}

/** SHA-256 of a row's values, hexadecimal. */
function digest(row: Row): string {
  return hash('sha256', JSON.stringify(row));
}

/** The sum of the rows' SHA-256 modulo 2^256: the same in whatever order a database sorts its keys. */
function checksum() {
  let sum = 0n;
  return {
    add(rows: Row[]) {
      for (const row of rows) sum += BigInt(`0x${digest(row)}`);
      sum = BigInt.asUintN(256, sum);
    },
    value: () => sum.toString(16).padStart(64, '0'),
  };
}
