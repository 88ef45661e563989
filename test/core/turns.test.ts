import { expect, test } from 'vitest';
import { inTurn } from '../../src/core/turns.ts';

test('twenty of one key wait at most, those of other keys do not wait for them, and the next is let in when one is done', async () => {
  const gate = Promise.withResolvers<unknown>();
  const order: string[] = [];
  const work = (name: string) => async (alone: boolean) => {
    order.push(`${name} ${alone ? 'alone' : 'after others'}`);
    await gate.promise;
    return name;
  };
  const waiting = Array.from({ length: 20 }, (_, index) => inTurn('key', work(`${index}`)));
  expect(await inTurn('key', work('one too many'))).toBeNull();
  const other = inTurn('other key', work('other'));
  await expect.poll(() => order).toEqual(['0 alone', 'other alone']);
  gate.resolve(null);
  expect(await Promise.all([...waiting, other])).toEqual([...Array.from({ length: 20 }, (_, index) => `${index}`), 'other']);
  expect(order).toEqual(['0 alone', 'other alone', ...Array.from({ length: 19 }, (_, index) => `${index + 1} after others`)]);
  expect(await inTurn('key', work('next'))).toBe('next');
  expect(order.at(-1)).toBe('next alone');
});

test('a work that fails fails for its caller alone', async () => {
  const failing = inTurn('key', async () => { throw new Error('no'); });
  const next = inTurn('key', async (alone) => alone);
  await expect(failing).rejects.toThrow('no');
  expect(await next).toBe(false);
  expect(await inTurn('key', async (alone) => alone)).toBe(true);
});
