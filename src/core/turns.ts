type Line = { tail: Promise<unknown>; length: number };

const LONGEST_LINE = 20;
const lines = new Map<string, Line>();

/**
 * Runs the works of one key one after another, in this process; each is told whether it found nobody before it. Null, and
 * nothing run, when too many wait already.
 */
export async function inTurn<Result>(key: string, work: (alone: boolean) => Promise<Result>): Promise<Result | null> {
  const line = lines.get(key) ?? { tail: Promise.resolve(), length: 0 };
  if (line.length >= LONGEST_LINE) return null;
  const alone = line.length === 0;
  line.length += 1;
  lines.set(key, line);
  const mine = line.tail.then(() => work(alone));
  line.tail = mine.catch(() => undefined);
  try {
    return await mine;
  } finally {
    line.length -= 1;
    if (line.length === 0) lines.delete(key);
  }
}
