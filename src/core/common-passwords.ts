import { readFileSync } from 'node:fs';

const LINE_END = 10;

/** The file as it is, outside the JavaScript heap; read when first asked. Its lines are sorted by bytes. */
let list: Buffer | undefined;

/** Whether the password, in NFC, is exactly one of the commonest; common-passwords.md tells where they are from. */
export function isCommonPassword(password: string): boolean {
  list ??= readFileSync(new URL('common-passwords.txt', import.meta.url));
  const wanted = Buffer.from(password);
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const start = list.lastIndexOf(LINE_END, middle - 1) + 1;
    const end = list.indexOf(LINE_END, middle);
    const order = wanted.compare(list, start, end);
    if (order === 0) return true;
    if (order < 0) high = start;
    else low = end + 1;
  }
  return false;
}
