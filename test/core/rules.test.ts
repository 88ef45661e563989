import { expect, test } from 'vitest';
import { isDisownable } from '../../src/core/email-verifications.ts';
import { chooseBucket } from '../../src/core/throttle.ts';
import type { Throttle } from '../../src/store/throttles.ts';
import type { User } from '../../src/store/users.ts';

/** Small rules, each in every case. */

test('only an account that had to be verified, was not, and never signed in may be deleted by who reads its mailbox', () => {
  const cases = [null, 1].flatMap((verifyBy) => [null, 1].flatMap((emailVerifiedAt) => [null, 1].map((lastSignedInAt) =>
    ({ verifyBy, emailVerifiedAt, lastSignedInAt }))));
  const disownable = cases.filter((user) => isDisownable(user as User));
  expect(disownable).toEqual([{ verifyBy: 1, emailVerifiedAt: null, lastSignedInAt: null }]);
});

test('while keys are rotated attempts are counted in the fullest bucket of the right names, in whatever order they come', () => {
  const bucket = (key: string, count: number): Throttle => ({ key, count, blockedUntil: 0, expiresAt: 0 });
  const [few, many, others] = [bucket('new', 2), bucket('old', 5), bucket('of somebody else', 9)];
  for (const throttles of [[few, many, others], [others, many, few], [many, few]]) {
    expect(chooseBucket(['new', 'old'], throttles)).toEqual({ key: 'old', counted: many });
  }
  expect(chooseBucket(['new', 'old'], [others])).toEqual({ key: 'new', counted: undefined });
});
