import { parse } from 'csv-parse/sync';
import { UsageError } from './command.ts';

export const USER_FIELDS = ['email', 'username', 'password_hash', 'email_verified', 'roles', 'created_at'] as const;
export const MAX_LINE_BYTES = 64 * 1024;

/** A line of the file with its number, from 1 on: its fields by name, or why there are none. */
export type FieldLine = { line: number } & ({ fields: Record<string, unknown> } | { fault: string });
export type UserFormat = 'csv' | 'jsonl';

const LINE_END = 10;
const UNKNOWN_FIELD = `has a field that is not known; known are ${USER_FIELDS.join(', ')}`;

/** Reads user by user, one a line, in memory that does not grow with the file. @throws UsageError for a header that will not do */
export async function* readUserLines(input: AsyncIterable<Buffer>, format: UserFormat, onBytes: (bytes: number) => void): AsyncGenerator<FieldLine> {
  let columns: string[] | undefined;
  let line = 0;
  for await (const bytes of splitLines(input)) {
    line += 1;
    onBytes(bytes.length + 1);
    const text = decode(bytes, line);
    if (text === null) yield { line, fault: bytes.length > MAX_LINE_BYTES ? `is longer than ${MAX_LINE_BYTES} bytes` : 'is not UTF-8' };
    else if (text.trim() === '') continue;
    else if (format === 'jsonl') yield { line, ...parseJson(text) };
    else if (columns) yield { line, ...parseRecord(text, columns) };
    else columns = parseHeader(text);
  }
  if (format === 'csv' && !columns) throw new UsageError('the file has no header');
}

/** Of a line that is too long only as much is kept as shows that it is. */
async function* splitLines(input: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let parts: Buffer[] = [];
  let length = 0;
  const take = (part: Buffer) => {
    if (length <= MAX_LINE_BYTES) parts.push(part.subarray(0, MAX_LINE_BYTES + 1 - length));
    length += part.length;
  };
  for await (const chunk of input) {
    let start = 0;
    for (let end = chunk.indexOf(LINE_END); end >= 0; end = chunk.indexOf(LINE_END, start)) {
      take(chunk.subarray(start, end));
      yield Buffer.concat(parts);
      [parts, length, start] = [[], 0, end + 1];
    }
    take(chunk.subarray(start));
  }
  if (length > 0) yield Buffer.concat(parts);
}

/** Null for what is no UTF-8, or too long; a byte order mark may stand before the first line. */
function decode(bytes: Buffer, line: number): string | null {
  if (bytes.length > MAX_LINE_BYTES) return null;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: line > 1 }).decode(bytes).replace(/\r$/, '');
  } catch {
    return null;
  }
}

function parseJson(text: string): { fields: Record<string, unknown> } | { fault: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { fault: 'is not JSON' };
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { fault: 'is not a JSON object' };
  if (!Object.keys(value).every(isKnown)) return { fault: UNKNOWN_FIELD };
  return { fields: value as Record<string, unknown> };
}

/** An empty field is one that is not there. */
function parseRecord(text: string, columns: string[]): { fields: Record<string, unknown> } | { fault: string } {
  const values = parseCsv(text);
  if (!values) return { fault: 'is not CSV: a quotation mark is out of place (a field cannot hold a line break)' };
  if (values.length !== columns.length) return { fault: `has ${values.length} fields, and the header ${columns.length}` };
  return { fields: Object.fromEntries(columns.map((column, index) => [column, values[index] || undefined])) };
}

/** What it says names no column: a file without a header has a user there. */
function parseHeader(text: string): string[] {
  const columns = parseCsv(text)?.map((column) => column.trim());
  const known = `they are ${USER_FIELDS.join(', ')}`;
  if (!columns?.every(isKnown)) throw new UsageError(`the first line must be a header that names known columns; ${known}`);
  if (new Set(columns).size < columns.length) throw new UsageError('the header names a column twice');
  if (!columns.includes('password_hash')) throw new UsageError(`the header names no column password_hash; ${known}`);
  return columns;
}

function parseCsv(text: string): string[] | null {
  try {
    const [record] = parse(text, { record_delimiter: '\n' });
    return record ?? null;
  } catch {
    return null;
  }
}

function isKnown(name: string): boolean {
  return (USER_FIELDS as readonly string[]).includes(name);
}
