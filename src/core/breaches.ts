import { createHash } from 'node:crypto';

const TIME_LIMIT_MS = 1000;
/** ten times what the service answers */
const MAX_BYTES = 1024 * 1024;
const PREFIX_LENGTH = 5;
const LINE = /^([\dA-F]{35}):(\d{1,12})$/i;

export type BreachAnswer = { outcome: 'breached' } | { outcome: 'unknown' } | { outcome: 'unavailable'; reason: string };

/**
 * Asks a range API of Have I Been Pwned whether the password, in NFC, was in a breach. k-anonymity: only five hexadecimal digits
 * of its SHA-1 are sent, and padding hides how many share them (it is this protocol that wants SHA-1). Without a sound answer
 * within a second: unavailable, with a reason that says nothing of the password.
 */
export async function askForBreach(url: string, password: string): Promise<BreachAnswer> {
  const digest = createHash('sha1').update(password).digest('hex').toUpperCase();
  try {
    const answer = await fetch(`${url}/${digest.slice(0, PREFIX_LENGTH)}`, {
      headers: { 'Add-Padding': 'true', 'User-Agent': 'keyturn' }, redirect: 'error', signal: AbortSignal.timeout(TIME_LIMIT_MS),
    });
    const counts = await readCounts(answer);
    return { outcome: (counts.get(digest.slice(PREFIX_LENGTH)) ?? 0) > 0 ? 'breached' : 'unknown' }; // padding has a count of 0
  } catch (error) {
    return { outcome: 'unavailable', reason: reasonOf(error) };
  }
}

class UnsoundAnswer extends Error {}

async function readCounts({ status, body }: Response): Promise<Map<string, number>> {
  if (status !== 200 || !body) {
    await body?.cancel();
    throw new UnsoundAnswer(`the answer has status ${status}`);
  }
  const lines = (await readText(body)).split(/\r?\n/).filter(Boolean);
  return new Map(lines.map(parseLine));
}

async function readText(body: ReadableStream<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > MAX_BYTES) throw new UnsoundAnswer('the answer is too long');
  }
  return Buffer.concat(chunks).toString('latin1');
}

function parseLine(line: string): [string, number] {
  const [, suffix, count] = LINE.exec(line) ?? [];
  if (!suffix || !count) throw new UnsoundAnswer('the answer is not of the range API');
  return [suffix.toUpperCase(), Number(count)];
}

function reasonOf(error: unknown): string {
  if (error instanceof UnsoundAnswer) return error.message;
  if (!(error instanceof Error)) return 'no sound answer';
  return (error.cause as NodeJS.ErrnoException | undefined)?.code ?? (error.name === 'TimeoutError' ? 'no answer in time' : 'no sound answer');
}
