import { styleText } from 'node:util';

const BAR_WIDTH = 30;
const REDRAW_MS = 100;
const LINE_EVERY_MS = 3000;

export type Output = { write(text: string): unknown; isTTY?: boolean };

/**
 * Shows how far the steps of a command are: a bar that is redrawn on a terminal, else a line every few seconds. A step ends
 * when the next begins, or with `end`.
 */
export function showProgress(output: Output, now: () => number) {
  let finish = () => undefined as unknown;
  const end = () => {
    finish();
    finish = () => undefined;
  };

  function begin(step: string) {
    end();
    const startedAt = now();
    let [shownAt, last] = [startedAt, [0, 0] as [number, number]];
    const draw = () => output.write(`\r${line(step, ...last, now() - startedAt)}\u001b[K`);
    finish = () => last[1] > 0 && (output.isTTY ? (draw(), output.write('\n')) : output.write(`${summary(step, ...last, now() - startedAt)}\n`));
    return (done: number, total: number) => {
      last = [done, total];
      if (now() - shownAt < (output.isTTY ? REDRAW_MS : LINE_EVERY_MS)) return;
      shownAt = now();
      if (output.isTTY) draw();
      else output.write(`${summary(step, done, total, now() - startedAt)}\n`);
    };
  }
  return { begin, end };
}

function line(step: string, done: number, total: number, elapsedMs: number): string {
  const full = Math.round((done / total) * BAR_WIDTH);
  const bar = styleText('green', '█'.repeat(full)) + '░'.repeat(BAR_WIDTH - full);
  return `${step.padEnd(20)} ${bar} ${summary('', done, total, elapsedMs)}`;
}

function summary(step: string, done: number, total: number, elapsedMs: number): string {
  const seconds = elapsedMs / 1000;
  const left = done > 0 && done < total ? `, about ${Math.ceil((seconds / done) * (total - done))} s left` : `, ${seconds.toFixed(1)} s`;
  return `${step && `${step}: `}${Math.floor((done / total) * 100)} %, ${count(done)} of ${count(total)}${left}`;
}

/** 1234567 as 1,234,567 */
export function count(number: number): string {
  return number.toLocaleString('en-US');
}
