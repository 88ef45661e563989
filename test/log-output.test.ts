import { expect, test } from 'vitest';
import { writeByTurn } from '../src/log-output.ts';

test('the lines of one turn of the event loop are one write, in their order, and none waits longer', async () => {
  const writes: string[] = [];
  const output = writeByTurn({ write: (text) => writes.push(text) });
  output.write('one\n');
  output.write('two\n');
  expect(writes).toEqual([]);
  await new Promise(setImmediate);
  expect(writes).toEqual(['one\ntwo\n']);
  output.write('three\n');
  await new Promise(setImmediate);
  expect(writes).toEqual(['one\ntwo\n', 'three\n']);
});
