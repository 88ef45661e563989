import { expect, test } from 'vitest';
import { chooseBucket } from '../../src/core/throttle.ts';

const throttle = (key: string, count: number) => ({ key, count, blockedUntil: 0, expiresAt: 1 });

test('where attempts were counted under two keys, the larger count is in force, whichever comes first', () => {
  const [few, many] = [throttle('new', 1), throttle('old', 40)];
  for (const counted of [[few, many], [many, few]]) {
    expect(chooseBucket(['new', 'old'], counted)).toEqual({ key: 'old', counted: many });
  }
});

test('a count under another name is no part of the bucket, and where there is none the first key names it', () => {
  expect(chooseBucket(['new', 'old'], [throttle('another', 40)])).toEqual({ key: 'new', counted: undefined });
});
